// SequenceTimeline: when what happened to a sequence. Only requests that are traced have one; the
// engine's thread notes times in it, and others make spans of them.
//
// Threading: thread-safe. Limits: kMaxMarks; more are counted and dropped.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "runtime/base/mutex.h"

namespace vl2 {

class SequenceTimeline {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMaxMarks = 1024;

  enum class Kind {
    kSlotNeeded,       // embeddings of slot `first` from `count` on
    kEmbeddingsThere,  // all that were needed
    kAdmitted,         // blocks and a place to run
    kPrefill,          // prompt positions [first, first + count), from `begin` to `end`
    kFirstToken,       // of the first sample that has one
    kPreempted,        // blocks and place are gone
  };
  struct Mark {
    Kind kind = Kind::kAdmitted;
    Clock::time_point begin;
    Clock::time_point end;
    int64_t first = 0;
    int64_t count = 0;
  };

  SequenceTimeline() { marks_.reserve(64); }

  void Add(const Mark& mark) {
    MutexLock lock(&mutex_);
    if (marks_.size() < kMaxMarks) {
      marks_.push_back(mark);
    } else {
      ++num_dropped_;
    }
  }
  void Add(Kind kind, Clock::time_point now, int64_t first = 0, int64_t count = 0) {
    Add({.kind = kind, .begin = now, .end = now, .first = first, .count = count});
  }

  std::vector<Mark> marks() const {
    MutexLock lock(&mutex_);
    return marks_;
  }
  int64_t num_dropped() const {
    MutexLock lock(&mutex_);
    return num_dropped_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<Mark> marks_ ABSL_GUARDED_BY(mutex_);
  int64_t num_dropped_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vl2
