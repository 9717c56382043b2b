#include "runtime/rpc/grpc_status.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "runtime/base/error_details.h"
#include "runtime/base/status.h"

namespace vl2 {

namespace {

constexpr int kNumCodes = 17;  // OK to UNAUTHENTICATED

int CheckedCode(int code) {
  return code >= 0 && code < kNumCodes ? code : static_cast<int>(absl::StatusCode::kUnknown);
}

constexpr char kDomain[] = "vl2serve";
constexpr int kLongestRetryS = 60;
// Of what is repeated in details: all trailers together must stay below 8 KiB.
constexpr size_t kMaxDetailBytes = 256;

// At most so many bytes, not cut inside a UTF-8 character.
std::string Shortened(std::string message, size_t max_bytes = kMaxStatusMessageBytes) {
  if (message.size() <= max_bytes) return message;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xc0) == 0x80) --end;
  message.resize(end);
  return message;
}

std::string WithCase(std::string text, int (*change)(int)) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [change](unsigned char c) { return static_cast<char>(change(c)); });
  return text;
}

std::string DetailsOf(const absl::Status& status, int code) {
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(Shortened(Message(status), kMaxDetailBytes));
  google::rpc::ErrorInfo info;
  info.set_reason(WithCase(ReasonOf(status), std::toupper));
  info.set_domain(kDomain);
  details.add_details()->PackFrom(info);
  if (const std::string param = ParamOf(status); !param.empty()) {
    google::rpc::BadRequest request;
    auto& violation = *request.add_field_violations();
    violation.set_field(Shortened(param, kMaxDetailBytes));
    violation.set_description(details.message());
    details.add_details()->PackFrom(request);
  }
  if (const int seconds = RetryAfterOf(status); seconds > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(seconds);
    details.add_details()->PackFrom(retry);
  }
  return details.SerializeAsString();
}

// What another process says, as far as it can be believed.
absl::Status WithDetails(absl::Status status, const std::string& text) {
  google::rpc::Status details;
  if (text.empty() || !details.ParseFromString(text)) return status;
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    google::rpc::BadRequest request;
    if (detail.UnpackTo(&info) && info.domain() == kDomain) {
      const std::string reason = WithCase(info.reason(), std::tolower);
      if (IsErrorReason(reason) && reason != ReasonOf(status)) {
        status = WithReason(std::move(status), reason);
      }
    } else if (detail.UnpackTo(&retry)) {
      const int64_t seconds = retry.retry_delay().seconds();
      if (seconds >= 1 && seconds <= kLongestRetryS && seconds != RetryAfterOf(status)) {
        status = WithRetryAfter(std::move(status), static_cast<int>(seconds));
      }
    } else if (detail.UnpackTo(&request) && request.field_violations_size() > 0) {
      status = WithParam(std::move(status),
                         Shortened(request.field_violations(0).field(), kMaxDetailBytes));
    }
  }
  return status;
}

}  // namespace

grpc::Status StatusToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const int code = CheckedCode(static_cast<int>(status.code()));
  return grpc::Status(static_cast<grpc::StatusCode>(code), Shortened(Message(status)),
                      DetailsOf(status, code));
}

absl::Status GrpcToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = CheckedCode(static_cast<int>(status.error_code()));
  return WithDetails(
      absl::Status(static_cast<absl::StatusCode>(code), Shortened(status.error_message())),
      status.error_details());
}

}  // namespace vl2
