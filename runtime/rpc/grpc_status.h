// absl::Status to grpc::Status and back. Codes are the same numbers; a code that is none becomes
// UNKNOWN. Messages are cut at kMaxStatusMessageBytes, since they travel as HTTP/2 trailers.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace vl2 {

inline constexpr size_t kMaxStatusMessageBytes = 2048;

grpc::Status StatusToGrpc(const absl::Status& status);
absl::Status GrpcToStatus(const grpc::Status& status);

}  // namespace vl2
