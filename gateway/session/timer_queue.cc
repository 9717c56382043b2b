#include "gateway/session/timer_queue.h"

#include <algorithm>

namespace vl2::gateway {

TimerQueue::TimerQueue() : thread_([this] { Run(); }) {}

TimerQueue::~TimerQueue() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

TimerQueue::Key TimerQueue::At(Clock::time_point when, std::function<void()> call) {
  Key key;
  {
    MutexLock lock(&mutex_);
    key = {when, next_id_++};
    calls_.emplace(key, std::move(call));
  }
  changed_.NotifyAll();
  return key;
}

void TimerQueue::Cancel(const Key& key) {
  std::function<void()> dropped;  // destroyed outside the lock
  MutexLock lock(&mutex_);
  const auto it = calls_.find(key);
  if (it == calls_.end()) return;
  dropped = std::move(it->second);
  calls_.erase(it);
}

void TimerQueue::Run() {
  // Far enough for "no deadline", near enough not to overflow the system's clock.
  constexpr auto kLongest = std::chrono::hours(1);
  for (;;) {
    std::function<void()> call;
    {
      MutexLock lock(&mutex_);
      for (;;) {
        if (stop_) return;
        const auto now = Clock::now();
        if (!calls_.empty() && calls_.begin()->first.first <= now) break;
        const auto wake =
            calls_.empty() ? now + kLongest : std::min(calls_.begin()->first.first, now + kLongest);
        changed_.WaitUntil(&mutex_, wake);
      }
      call = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
    }
    call();
  }
}

}  // namespace vl2::gateway
