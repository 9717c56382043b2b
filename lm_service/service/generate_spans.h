// AddSequenceSpans: the spans and events of a Generate call, from its sequence's timeline.
//
//   queue              from the submission, or a preemption, to the admission
//   await embeddings   from what was needed to its being there, {slots}
//   prefill chunk      a step's part of the prompt, {first, tokens}
//   decode             from the first token to the end, {tokens}
//   events             first_token, preempted, slot_needed {slot, first_embedding}
#pragma once

#include <chrono>
#include <cstdint>

#include "lm_service/scheduler/sequence_timeline.h"
#include "runtime/trace/span.h"

namespace vl2 {

struct SequenceTimes {
  SequenceTimeline::Clock::time_point submitted;
  SequenceTimeline::Clock::time_point ended;
  int64_t num_tokens = 0;  // generated
};

// Below `call`, which has not ended.
void AddSequenceSpans(const SequenceTimeline& timeline, const SequenceTimes& times, Span& call);

}  // namespace vl2
