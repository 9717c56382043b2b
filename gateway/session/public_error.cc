#include "gateway/session/public_error.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error_details.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

bool IsOfServices(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool SeesReasons(bool keys_asked_for, const ApiKey* key) {
  return !keys_asked_for || (key != nullptr && key->is_admin);
}

absl::Status PublicError(const absl::Status& status, bool sees_reasons,
                         const std::string& request_id) {
  if (sees_reasons || !IsOfServices(status)) return status;
  Log(Severity::kWarning, "a request failed",
      {{"request", request_id}, {"reason", Message(status)}});
  const std::string reason = ReasonOf(status);
  const auto& all = ErrorReasons();
  const auto known = std::find_if(all.begin(), all.end(),
                                  [&](const ErrorReason& each) { return each.name == reason; });
  absl::Status shown(status.code(), Cat(known->meaning));
  shown = WithReason(std::move(shown), reason);
  const int seconds = RetryAfterOf(status);
  return seconds > 0 ? WithRetryAfter(std::move(shown), seconds) : shown;
}

}  // namespace vl2::gateway
