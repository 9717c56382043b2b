#include "client/exit_code.h"

namespace vl2::client {

ExitCode ExitCodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return kDone;
    case absl::StatusCode::kUnavailable:
      return kUnreachable;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return kRefused;
    case absl::StatusCode::kResourceExhausted:
      return kFull;
    case absl::StatusCode::kDeadlineExceeded:
      return kTimedOut;
    default:
      return kServerFailed;
  }
}

}  // namespace vl2::client
