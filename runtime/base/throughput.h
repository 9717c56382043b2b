// Throughput: how many of something end per second, over the last half minute or so; and from that,
// when one who was refused may come again.
//
// Threading: none of its own, the owner's mutex guards it. Times must not go backwards.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

namespace vl2 {

// Seconds until a backlog is gone at this speed, as clients are told: 1 to 30, since nobody knows
// what will be in half a minute.
inline int RetryAfterSeconds(double backlog, double per_second) {
  constexpr double kLongest = 30;
  if (!(per_second > 0)) return static_cast<int>(kLongest);
  return static_cast<int>(std::ceil(std::clamp(backlog / per_second, 1.0, kLongest)));
}

class Throughput {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Throughput(Clock::time_point now) : begin_(now), last_(now) {}

  void Add(int64_t count, Clock::time_point now) {
    sum_ = SumAt(now) + static_cast<double>(count);
    last_ = std::max(last_, now);
  }

  // One more than were seen in one second more: nothing is known at first, and a pause is no end.
  double PerSecond(Clock::time_point now) const {
    const double window = kSeconds * (1 - std::exp(-Seconds(begin_, now) / kSeconds));
    return (SumAt(now) + 1) / (window + 1);
  }

 private:
  static constexpr double kSeconds = 30;

  static double Seconds(Clock::time_point from, Clock::time_point to) {
    return std::max(0.0, std::chrono::duration<double>(to - from).count());
  }
  // What was counted, older counts for less.
  double SumAt(Clock::time_point now) const {
    return sum_ * std::exp(-Seconds(last_, now) / kSeconds);
  }

  Clock::time_point begin_;
  Clock::time_point last_;
  double sum_ = 0;
};

}  // namespace vl2
