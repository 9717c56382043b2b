// IdleConnections: connections that wait for a request, the one that has waited longest first.
//
// They are what a full server gives up first: nobody loses an answer.
//
// Threading: thread-safe. A callback runs on the thread that asks for room, outside the lock, and
// must be short.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <utility>

#include "runtime/base/mutex.h"

namespace vl2::gateway {

class IdleConnections {
 private:
  using List = std::list<std::function<void()>>;

 public:
  // A connection is idle as long as this lives.
  class Spell {
   public:
    Spell(IdleConnections* connections, std::function<void()> close)
        : connections_(connections), place_(connections->Enter(std::move(close))) {}
    ~Spell() { connections_->Leave(place_); }
    Spell(const Spell&) = delete;
    Spell& operator=(const Spell&) = delete;

   private:
    IdleConnections* const connections_;
    const List::iterator place_;
  };

  // Asks the connection that has been idle longest to close; false when there is none.
  bool CloseOldest() {
    std::function<void()> close;
    {
      MutexLock lock(&mutex_);
      for (auto& each : idle_) {
        if (each == nullptr) continue;  // asked already
        close = std::exchange(each, nullptr);
        --count_;
        break;
      }
    }
    if (close == nullptr) return false;
    close();
    return true;
  }
  int64_t count() const {
    MutexLock lock(&mutex_);
    return count_;
  }

 private:
  List::iterator Enter(std::function<void()> close) {
    MutexLock lock(&mutex_);
    ++count_;
    return idle_.insert(idle_.end(), std::move(close));
  }
  void Leave(List::iterator place) {
    MutexLock lock(&mutex_);
    if (*place != nullptr) --count_;
    idle_.erase(place);
  }

  mutable Mutex mutex_;
  List idle_ ABSL_GUARDED_BY(mutex_);  // null: has been asked to close
  int64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vl2::gateway
