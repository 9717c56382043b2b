#include "runtime/rpc/grpc_status.h"

#include <string>

#include "runtime/base/status.h"

namespace vl2 {

namespace {

constexpr int kNumCodes = 17;  // OK to UNAUTHENTICATED

int CheckedCode(int code) {
  return code >= 0 && code < kNumCodes ? code : static_cast<int>(absl::StatusCode::kUnknown);
}

// At most kMaxStatusMessageBytes, not cut inside a UTF-8 character.
std::string Shortened(std::string message) {
  if (message.size() <= kMaxStatusMessageBytes) return message;
  size_t end = kMaxStatusMessageBytes;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xc0) == 0x80) --end;
  message.resize(end);
  return message;
}

}  // namespace

grpc::Status StatusToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const int code = CheckedCode(static_cast<int>(status.code()));
  return grpc::Status(static_cast<grpc::StatusCode>(code), Shortened(Message(status)));
}

absl::Status GrpcToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = CheckedCode(static_cast<int>(status.error_code()));
  return absl::Status(static_cast<absl::StatusCode>(code), Shortened(status.error_message()));
}

}  // namespace vl2
