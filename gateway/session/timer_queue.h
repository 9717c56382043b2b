// TimerQueue: calls functions at given times, on one thread of its own.
//
// Owns: the thread, joined by the destructor; what has not been called by then never is.
// Threading: thread-safe. The functions must be short and must not block.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "runtime/base/mutex.h"

namespace vl2::gateway {

class TimerQueue {
 public:
  using Clock = std::chrono::steady_clock;
  using Key = std::pair<Clock::time_point, uint64_t>;

  TimerQueue();
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  Key At(Clock::time_point when, std::function<void()> call);
  // Without effect once the call has begun.
  void Cancel(const Key& key);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::map<Key, std::function<void()>> calls_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace vl2::gateway
