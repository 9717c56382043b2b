// ByteBudget: how many bytes of requests a server holds, over all of them.
//
// Threading: thread-safe; a reservation belongs to one coroutine or thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace vl2::gateway {

class ByteBudget {
 public:
  explicit ByteBudget(int64_t limit) : limit_(limit) {}
  int64_t limit() const { return limit_; }
  int64_t held() const { return held_.load(std::memory_order_relaxed); }

 private:
  friend class ByteReservation;
  const int64_t limit_;
  std::atomic<int64_t> held_{0};
};

// Gives its bytes back when it goes. The budget outlives it.
class ByteReservation {
 public:
  explicit ByteReservation(ByteBudget* budget) : budget_(budget) {}
  ~ByteReservation() { budget_->held_ -= bytes_; }
  ByteReservation(const ByteReservation&) = delete;
  ByteReservation& operator=(const ByteReservation&) = delete;

  // Holds at least so many bytes from now on; false, and nothing changes, when the limit forbids
  // it. One reservation alone may go beyond the limit: a request that is allowed is never starved.
  bool HoldAtLeast(int64_t bytes) {
    if (bytes <= bytes_) return true;
    const int64_t more = bytes - bytes_;
    const int64_t before = budget_->held_.fetch_add(more);
    if (before + more > budget_->limit_ && before != bytes_) {
      budget_->held_ -= more;
      return false;
    }
    bytes_ = bytes;
    return true;
  }
  int64_t bytes() const { return bytes_; }

 private:
  ByteBudget* const budget_;
  int64_t bytes_ = 0;
};

}  // namespace vl2::gateway
