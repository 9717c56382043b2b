#include "lm_service/service/generate_spans.h"

#include <algorithm>
#include <optional>

namespace vl2 {
namespace {

using Clock = SequenceTimeline::Clock;
using Kind = SequenceTimeline::Kind;
using Mark = SequenceTimeline::Mark;

class SpanMaker {
 public:
  SpanMaker(const SequenceTimes& times, Span& call)
      : times_(times), call_(call), queued_(times.submitted) {}

  void Take(const Mark& mark) {
    switch (mark.kind) {
      case Kind::kSlotNeeded:
        call_.AddEvent("slot_needed", mark.begin,
                       {{"vl2.slot", mark.first}, {"vl2.first_embedding", mark.count}});
        if (!needed_) needed_ = mark.begin;
        ++num_slots_;
        break;
      case Kind::kEmbeddingsThere:
        EndWait(mark.begin);
        break;
      case Kind::kAdmitted:
        EndQueue(mark.begin);
        break;
      case Kind::kPrefill: {
        Span span = Begin("prefill chunk", mark.begin);
        span.Set("vl2.first", mark.first);
        span.Set("vl2.tokens", mark.count);
        span.End(mark.end);
        break;
      }
      case Kind::kFirstToken:
        call_.AddEvent("first_token", mark.begin);
        first_token_ = mark.begin;
        break;
      case Kind::kPreempted:
        call_.AddEvent("preempted", mark.begin);
        queued_ = mark.begin;
        break;
    }
  }

  // What has begun ends with the sequence.
  void Finish() {
    EndWait(times_.ended);
    EndQueue(times_.ended);
    if (!first_token_) return;
    Span span = Begin("decode", *first_token_);
    span.Set("vl2.tokens", times_.num_tokens);
    span.End(times_.ended);
  }

 private:
  Span Begin(std::string_view name, Clock::time_point begin) const {
    return call_.point().Begin(name, SpanKind::kInternal, begin);
  }
  void EndQueue(Clock::time_point now) {
    if (queued_) Begin("queue", *queued_).End(now);
    queued_.reset();
  }
  void EndWait(Clock::time_point now) {
    if (!needed_) return;
    Span span = Begin("await embeddings", *needed_);
    span.Set("vl2.slots", num_slots_);
    span.End(now);
    needed_.reset();
    num_slots_ = 0;
  }

  const SequenceTimes& times_;
  Span& call_;
  std::optional<Clock::time_point> queued_;
  std::optional<Clock::time_point> needed_;
  std::optional<Clock::time_point> first_token_;
  int64_t num_slots_ = 0;
};

}  // namespace

void AddSequenceSpans(const SequenceTimeline& timeline, const SequenceTimes& times, Span& call) {
  SpanMaker maker(times, call);
  for (const Mark& mark : timeline.marks()) {
    // The engine may go on for a moment after a call was given up.
    if (mark.end <= times.ended) maker.Take(mark);
  }
  maker.Finish();
  if (const int64_t dropped = timeline.num_dropped(); dropped > 0) {
    call.Set("vl2.dropped_marks", dropped);
  }
}

}  // namespace vl2
