#include "gateway/session/retry_policy.h"

#include <algorithm>

namespace vl2::gateway {

std::optional<std::chrono::milliseconds> RetryPolicy::OnFailure(const absl::Status& status) {
  ++num_failures_;
  const bool full =
      absl::IsResourceExhausted(status) && (!late() || late_full_ == LateFull::kRetry);
  const bool lost =
      absl::IsUnavailable(status) || absl::IsCancelled(status) || absl::IsAborted(status);
  const int limit = full ? kMaxFull : late() ? kMaxLateFailures : kMaxEarlyFailures;
  if ((!full && !lost) || num_failures_ > limit) return std::nullopt;
  constexpr std::chrono::milliseconds kUnit{25};
  return std::min(kUnit * (1 << std::min(num_failures_, 10)), kLongestPause);
}

}  // namespace vl2::gateway
