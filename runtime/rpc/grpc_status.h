// absl::Status to grpc::Status and back. Codes are the same numbers; a code that is none becomes
// UNKNOWN. Messages are cut at kMaxStatusMessageBytes, since they travel as HTTP/2 trailers.
//
// What a status says for programs (error_details.h) travels as google.rpc details: ErrorInfo with
// the reason in upper case and the domain "vl2serve" always; BadRequest when a field is at fault;
// RetryInfo when a later attempt may succeed, after a second where nothing else was said. What
// comes from another process is checked: an unknown reason, and a delay outside a minute, are left
// out.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace vl2 {

inline constexpr size_t kMaxStatusMessageBytes = 2048;

grpc::Status StatusToGrpc(const absl::Status& status);
absl::Status GrpcToStatus(const grpc::Status& status);

}  // namespace vl2
