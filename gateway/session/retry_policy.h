// RetryPolicy: whether, and after what pause, something that failed upstream is tried again.
//
// A replica that is lost (UNAVAILABLE, CANCELLED, ABORTED) is replaced kMaxEarlyFailures times
// before the answer's first token and kMaxLateFailures times after it. A replica that is full
// (RESOURCE_EXHAUSTED) is asked again once. Any other error is final. Pauses double from 50 ms to 2
// s.
//
// Threading: one thread at a time.
#pragma once

#include <chrono>
#include <optional>

#include "absl/status/status.h"

namespace vl2::gateway {

class RetryPolicy {
 public:
  static constexpr int kMaxEarlyFailures = 4;
  static constexpr int kMaxLateFailures = 10;
  static constexpr int kMaxFull = 1;
  static constexpr std::chrono::milliseconds kLongestPause{2000};

  enum class Phase { kEarly, kLate };  // before the first token, and from it on
  // What "full" means once the answer has begun.
  enum class LateFull { kRetry, kFinal };

  explicit RetryPolicy(LateFull late_full) : late_full_(late_full) {}

  // Counts a failure. The pause before the next attempt; nothing when the failure is final.
  std::optional<std::chrono::milliseconds> OnFailure(const absl::Status& status);
  // Failures in a row count: one that is followed by success does not.
  void OnSuccess() { num_failures_ = 0; }
  void OnFirstToken() { phase_ = Phase::kLate; }

  bool late() const { return phase_ == Phase::kLate; }

 private:
  const LateFull late_full_;
  Phase phase_ = Phase::kEarly;
  int num_failures_ = 0;
};

}  // namespace vl2::gateway
