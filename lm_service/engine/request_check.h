// What the engine takes, and what it refuses before anything is computed or held.
//
// Threading: pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lm_service/scheduler/scheduler.h"
#include "runtime/checkpoint/config.h"

namespace vl2 {

// One step, for metrics.
struct StepStats {
  double ms = 0;
  int64_t num_prompt_rows = 0;  // positions of prompts computed, again after a preemption too
  int64_t num_generated_rows = 0;
};

struct EngineOptions {
  SchedulerOptions scheduler;
  // Requests that have not ended, waiting ones included; more are refused with RESOURCE_EXHAUSTED.
  int64_t max_sequences = 256;
  int32_t end_token_id = 0;         // ends a sample; from the tokenizer, not from config.json
  DType cache_dtype = DType::kF32;  // or kBF16 (paged_cache.h)
  // Hears each step's duration, on the engine thread; may be empty.
  std::function<void(const StepStats&)> on_step;

  absl::Status Validate() const;
};

// INVALID_ARGUMENT names field, value and limit; RESOURCE_EXHAUSTED: too large for this engine even
// alone.
absl::StatusOr<SequenceLimits> CheckRequest(const GenerateRequest& request,
                                            const LanguageConfig& config,
                                            const EngineOptions& options);

// Checks an upload of `num_values` floats from embedding `first` on, for a sequence with pictures
// of `slot_sizes` embeddings.
absl::Status CheckUpload(const std::vector<int64_t>& slot_sizes, int slot, int64_t first,
                         int64_t num_values, int64_t hidden);

}  // namespace vl2
