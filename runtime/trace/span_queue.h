// SpanQueue: ended spans that wait to be exported. When it is full, what comes is dropped and
// counted: nobody waits for the exporter.
//
// Threading: thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/trace/span.h"

namespace vl2 {

class SpanQueue {
 public:
  using Clock = std::chrono::steady_clock;
  using Batch = std::vector<std::unique_ptr<SpanRecord>>;

  explicit SpanQueue(size_t max_spans) : max_spans_(max_spans) {}

  void Push(std::unique_ptr<SpanRecord> span);
  // Waits until `max_spans` are there, `patience` has passed since the call, or Close; takes what
  // is there then, at most `max_spans`. Empty after Close alone says that no more will come.
  Batch Pop(size_t max_spans, Clock::duration patience);
  // What comes from now on is dropped; Pop does not wait any more.
  void Close();

  int64_t num_waiting() const;
  int64_t max_spans() const { return static_cast<int64_t>(max_spans_); }
  int64_t num_dropped() const { return num_dropped_; }

 private:
  const size_t max_spans_;
  mutable Mutex mutex_;
  CondVar changed_;
  Batch spans_ ABSL_GUARDED_BY(mutex_);
  size_t wanted_ ABSL_GUARDED_BY(mutex_) = 0;  // spans that Pop waits for; 0: nobody waits
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<int64_t> num_dropped_{0};
};

}  // namespace vl2
