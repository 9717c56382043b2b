// What an error says for programs, beside its code and message: the field at fault, a reason that
// never changes its name, and when to try again. Carried in the status's payloads; the HTTP API
// tells them in its JSON and in Retry-After, gRPC as google.rpc details (grpc_status.h).
//
// Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace vl2 {

// REQUIRES for all three: `status` is an error.
absl::Status WithParam(absl::Status status, std::string_view param);
// `reason`: one of ErrorReasons().
absl::Status WithReason(absl::Status status, std::string_view reason);
absl::Status WithRetryAfter(absl::Status status, int seconds);

// Empty: no field is at fault.
std::string ParamOf(const absl::Status& status);
// What was said, else what the status's code says alone. Lower case, such as "invalid_image".
std::string ReasonOf(const absl::Status& status);
// Seconds after which it may be tried again; 0: it would fail again. A second where a later attempt
// may succeed (RESOURCE_EXHAUSTED, UNAVAILABLE) and nothing was said.
int RetryAfterOf(const absl::Status& status);

// All reasons that there are, and what they mean; the page of errors lists them.
struct ErrorReason {
  std::string_view name;
  std::string_view meaning;
};
const std::vector<ErrorReason>& ErrorReasons();
bool IsErrorReason(std::string_view name);

}  // namespace vl2
