#include "runtime/trace/span_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace vl2 {

void SpanQueue::Push(std::unique_ptr<SpanRecord> span) {
  {
    MutexLock lock(&mutex_);
    if (!closed_ && spans_.size() < max_spans_) {
      spans_.push_back(std::move(span));
      if (wanted_ > 0 && spans_.size() >= wanted_) changed_.NotifyOne();
      return;
    }
  }
  ++num_dropped_;
}

SpanQueue::Batch SpanQueue::Pop(size_t max_spans, Clock::duration patience) {
  const Clock::time_point until = Clock::now() + patience;
  MutexLock lock(&mutex_);
  wanted_ = max_spans;
  while (!closed_ && spans_.size() < max_spans && changed_.WaitUntil(&mutex_, until)) {
  }
  wanted_ = 0;
  const auto end = spans_.begin() + static_cast<std::ptrdiff_t>(std::min(max_spans, spans_.size()));
  Batch batch(std::make_move_iterator(spans_.begin()), std::make_move_iterator(end));
  spans_.erase(spans_.begin(), end);
  return batch;
}

void SpanQueue::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  changed_.NotifyAll();
}

int64_t SpanQueue::num_waiting() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(spans_.size());
}

}  // namespace vl2
