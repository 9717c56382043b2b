// The values of a `code` label: gRPC's codes in lower case, on every service alike.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace vl2 {

inline constexpr int kNumStatusCodes = 17;  // OK to UNAUTHENTICATED

// "ok", "cancelled", "invalid_argument" …
std::string CodeLabel(absl::StatusCode code);

}  // namespace vl2
