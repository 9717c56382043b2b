// EncodingTimeline: when what happened to a picture in the vision engine. Only pictures whose first
// call is traced have one; the engine's threads note times in it, and others make spans of them.
//
// Threading: thread-safe. Limits: a picture's tiles.
#pragma once

#include <chrono>
#include <vector>

#include "runtime/base/mutex.h"

namespace vl2 {

class EncodingTimeline {
 public:
  using Clock = std::chrono::steady_clock;
  struct Period {
    Clock::time_point begin;  // the epoch: it has not begun
    Clock::time_point end;    // the epoch: it has not ended
    bool ended() const { return end != Clock::time_point(); }
  };
  struct TileTimes {
    Clock::time_point cut;
    Period encode;
  };
  struct Times {
    Period decode;
    Period tile;                   // cutting, from the first part to the last
    std::vector<TileTimes> tiles;  // tile 0 is the global view
  };

  explicit EncodingTimeline(int num_tiles) { times_.tiles.resize(static_cast<size_t>(num_tiles)); }

  void Decoded(Clock::time_point begin, Clock::time_point end) {
    MutexLock lock(&mutex_);
    times_.decode = {begin, end};
  }
  void Cut(int tile, Clock::time_point begin, Clock::time_point end) {
    MutexLock lock(&mutex_);
    if (tile == 0) times_.tile.begin = begin;
    times_.tile.end = end;
    times_.tiles[static_cast<size_t>(tile)].cut = end;
  }
  void Encoded(int tile, Clock::time_point begin, Clock::time_point end) {
    MutexLock lock(&mutex_);
    times_.tiles[static_cast<size_t>(tile)].encode = {begin, end};
  }
  Times times() const {
    MutexLock lock(&mutex_);
    return times_;
  }

 private:
  mutable Mutex mutex_;
  Times times_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2
