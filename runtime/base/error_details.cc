#include "runtime/base/error_details.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/cord.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr char kParamUrl[] = "vl2/param";
constexpr char kReasonUrl[] = "vl2/reason";
constexpr char kRetryAfterUrl[] = "vl2/retry_after_s";

std::string Payload(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload ? std::string(*payload) : std::string();
}

absl::Status With(absl::Status status, const char* url, std::string_view value) {
  VL2_CHECK(!status.ok()) << "OK has no details";
  status.SetPayload(url, absl::Cord(std::string(value)));
  return status;
}

std::string_view ReasonOfCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return "invalid_request";
    case absl::StatusCode::kUnauthenticated:
      return "invalid_api_key";
    case absl::StatusCode::kPermissionDenied:
      return "permission_denied";
    case absl::StatusCode::kNotFound:
      return "not_found";
    case absl::StatusCode::kResourceExhausted:
      return "overloaded";
    case absl::StatusCode::kCancelled:
      return "cancelled";
    case absl::StatusCode::kUnimplemented:
      return "not_implemented";
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kFailedPrecondition:
      return "unavailable";
    case absl::StatusCode::kDeadlineExceeded:
      return "deadline_exceeded";
    default:
      return "internal_error";
  }
}

}  // namespace

absl::Status WithParam(absl::Status status, std::string_view param) {
  return With(std::move(status), kParamUrl, param);
}

absl::Status WithReason(absl::Status status, std::string_view reason) {
  VL2_CHECK(IsErrorReason(reason)) << reason << " is not in the list of reasons";
  return With(std::move(status), kReasonUrl, reason);
}

absl::Status WithRetryAfter(absl::Status status, int seconds) {
  return With(std::move(status), kRetryAfterUrl, std::to_string(seconds));
}

std::string ParamOf(const absl::Status& status) { return Payload(status, kParamUrl); }

std::string ReasonOf(const absl::Status& status) {
  std::string reason = Payload(status, kReasonUrl);
  return reason.empty() ? std::string(ReasonOfCode(status.code())) : reason;
}

int RetryAfterOf(const absl::Status& status) {
  const std::string seconds = Payload(status, kRetryAfterUrl);
  if (!seconds.empty()) return std::atoi(seconds.c_str());
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ? 1 : 0;
}

const std::vector<ErrorReason>& ErrorReasons() {
  static const auto& reasons = *new std::vector<ErrorReason>{
      {"invalid_request", "a field is missing, or has a type, value or size that is not allowed"},
      {"unsupported_parameter", "a field that this service does not know or cannot honour"},
      {"unsupported_content", "a part of a message of a kind that is not supported"},
      {"unsupported_image_url", "an address of an image of a kind that is not taken"},
      {"invalid_image_url", "an image's address is broken, or its host does not give the image"},
      {"invalid_image", "the bytes are not an image that can be read, or beyond a limit"},
      {"context_length_exceeded", "prompt and images are longer than the model's context"},
      {"model_not_found", "the request names a model that is not served"},
      {"not_found", "there is no such address"},
      {"invalid_api_key", "no key, or a wrong one"},
      {"permission_denied", "the key, or the certificate, does not allow this"},
      {"rate_limit_exceeded", "a limit of the key is reached; the message names it"},
      {"overloaded", "a limit of the server is reached"},
      {"made_room", "the server is full, and another client's turn came before this request"},
      {"client_too_slow", "the answer is not read as fast as it is made"},
      {"cancelled", "the client has left or cancelled"},
      {"deadline_exceeded", "the time limit of the request or of its caller has passed"},
      {"no_replicas", "no replica can serve the request at the moment"},
      {"shutting_down", "the server is about to stop; another one takes the request"},
      {"unavailable", "a service behind this one does not answer"},
      {"not_implemented", "nothing here does this"},
      {"internal_error", "a fault of the server"},
  };
  return reasons;
}

bool IsErrorReason(std::string_view name) {
  const auto& all = ErrorReasons();
  return std::any_of(all.begin(), all.end(),
                     [&](const ErrorReason& reason) { return reason.name == name; });
}

}  // namespace vl2
