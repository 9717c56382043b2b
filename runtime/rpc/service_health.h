// ServiceHealth: what an orchestrator hears of a service from its metrics port.
//
//   Ready: it serves. Not while it loads or drains; other services have no part in it.
//   Live:  it works, or has nothing to do. Loading is work. What watches over progress is given as
//          checks; a service that fails one is ended and started again, so that they must never ask
//          another service.
//
// Threading: thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "runtime/base/mutex.h"

namespace vl2 {

class ServiceHealth {
 public:
  enum class State { kLoading, kServing, kDraining };

  void SetState(State state) { state_ = state; }
  State state() const { return state_; }
  // Share of the weights that are in memory, 0 to 1.
  void SetLoadProgress(double progress) { load_progress_ = progress; }
  double load_progress() const { return load_progress_; }
  // What it uses outlives the last question. It must return soon.
  void AddCheck(std::function<absl::Status()> check);

  // UNAVAILABLE with the reason.
  absl::Status Ready() const;
  absl::Status Live() const;

 private:
  std::atomic<State> state_{State::kLoading};
  std::atomic<double> load_progress_{0};
  mutable Mutex mutex_;
  std::vector<std::function<absl::Status()>> checks_ ABSL_GUARDED_BY(mutex_);
};

// StallCheck: fails when there is work and a count of what was done has not changed for a while.
//
// Whoever asks says how both stand now, so that a hang is noticed at the first question after
// `timeout`. Threading: thread-safe.
class StallCheck {
 public:
  using Clock = std::chrono::steady_clock;
  StallCheck(const char* what, std::chrono::milliseconds timeout)
      : what_(what), timeout_(timeout) {}

  absl::Status Check(bool has_work, int64_t num_done, Clock::time_point now = Clock::now());

 private:
  const char* const what_;
  const std::chrono::milliseconds timeout_;
  Mutex mutex_;
  int64_t num_done_ ABSL_GUARDED_BY(mutex_) = -1;
  Clock::time_point since_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2
