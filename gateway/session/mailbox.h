// Mailbox: runs the work of one session one piece at a time, in the order it was posted.
//
// The thread that posts into an idle mailbox runs what is there; work posted meanwhile, also by the
// work itself, is run by that same thread afterwards. So nothing runs under a lock, nothing is
// re-entered, and a session needs no thread of its own.
//
// Threading: thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <utility>

#include "runtime/base/mutex.h"

namespace vl2::gateway {

class Mailbox {
 public:
  void Post(std::function<void()> work) {
    {
      MutexLock lock(&mutex_);
      work_.push_back(std::move(work));
      if (running_) return;
      running_ = true;
    }
    for (;;) {
      std::function<void()> next;
      {
        MutexLock lock(&mutex_);
        if (work_.empty()) {
          running_ = false;
          return;
        }
        next = std::move(work_.front());
        work_.pop_front();
      }
      next();
    }
  }

 private:
  Mutex mutex_;
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vl2::gateway
