// MakeQuestion: the request that a command line asks for.
//
// Errors: NOT_FOUND or INVALID_ARGUMENT for a picture that is absent, empty, too large (looked at
// before it is read) or of no accepted format, naming it. Limits: kMaxPictureBytes each.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

#include "absl/status/statusor.h"
#include "client/arguments.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::client {

// What the vision service takes unless it is told otherwise.
inline constexpr size_t kMaxPictureBytes = size_t{20} << 20;

// A file, or `standard_input` for "-".
absl::StatusOr<std::string> ReadPicture(const std::string& path, std::istream& standard_input);

// Pictures in order, then the question, in one user message.
absl::StatusOr<v1::ChatRequest> MakeQuestion(const AskArguments& ask, std::istream& standard_input);

}  // namespace vl2::client
