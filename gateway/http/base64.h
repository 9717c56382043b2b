// Base64 (RFC 4648, standard alphabet), read strictly: padding is required, and nothing that is not
// of the alphabet is skipped. Pure function.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vl2::gateway {

// INVALID_ARGUMENT naming the offset of the first fault.
absl::StatusOr<std::string> DecodeBase64(std::string_view text);

}  // namespace vl2::gateway
