// SessionThread: where the parts of one session run, as they see it.
//
// Work runs one piece at a time and never inside the call that posts it. Once the session has
// ended, what is posted is dropped; so work may point to parts of the session.
//
// Threading: thread-safe.
#pragma once

#include <chrono>
#include <functional>

namespace vl2::gateway {

class SessionThread {
 public:
  virtual ~SessionThread() = default;
  virtual void Post(std::function<void()> work) = 0;
  virtual void PostAfter(std::chrono::milliseconds delay, std::function<void()> work) = 0;
};

}  // namespace vl2::gateway
