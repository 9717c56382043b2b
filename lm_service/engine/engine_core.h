// EngineCore: the language engine without its thread: sequences in, steps, tokens out.
//
// A step: the scheduler plans rows, the model runs once over them, the sampler draws, sinks hear.
// Engine (engine.h) drives it from a thread; tests and tools may drive it themselves.
//
// Owns: cache, scheduler, sampler. Threading: MakeSequence from any thread, the rest from one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "lm_service/engine/request_check.h"
#include "lm_service/kv_cache/kv_cache.h"
#include "lm_service/model/language_model.h"
#include "lm_service/sampling/sampler.h"
#include "lm_service/scheduler/scheduler.h"

namespace vl2 {

class EngineCore {
 public:
  using Clock = std::chrono::steady_clock;

  // REQUIRES: options.Validate().ok(); `model` outlives this.
  EngineCore(const EngineOptions& options, LanguageModel& model);

  // Checks a request and looks its prefix up (and pins it). INVALID_ARGUMENT names what is wrong.
  // The result goes to Add, or to Drop.
  absl::StatusOr<std::unique_ptr<Sequence>> MakeSequence(GenerateRequest request,
                                                         std::shared_ptr<GenerateSink> sink);
  // Gives back what MakeSequence took.
  void Drop(Sequence& sequence) { sequence.UnpinPrefix(prefix_cache_); }

  void Add(std::unique_ptr<Sequence> sequence) {
    scheduler_.Add(std::move(sequence), Clock::now());
  }
  // Embeddings [first, first + rows) of a picture; REQUIRES: checked by CheckEmbeddings. Those of a
  // sequence that has ended are dropped.
  void AddEmbeddings(uint64_t id, int slot, int64_t first, ConstHostMatrix embeddings);
  // Ends a sequence; nothing when it has ended.
  void Finish(uint64_t id, const absl::Status& status) {
    scheduler_.Finish(id, status, Clock::now());
  }
  void Cancel(uint64_t id) { Finish(id, absl::CancelledError("cancelled")); }
  // Ends all with `status`.
  void FinishAll(const absl::Status& status);

  // Ends what has expired, then computes a step. False when there was nothing to compute.
  bool Step();
  // When something expires next, should nothing else happen.
  Clock::time_point next_expiry() const { return next_expiry_; }

  const Scheduler& scheduler() const { return scheduler_; }
  const PrefixCache& prefix_cache() const { return prefix_cache_; }
  const LanguageModel& model() const { return model_; }
  const EngineOptions& options() const { return options_; }

 private:
  void BuildInputs(const std::vector<StepRows>& step);
  void SampleStep(const std::vector<StepRows>& step, HostMatrix logits);
  // Draws the next token of a sample from `logits`; ends the sample when it is its last.
  absl::Status SampleToken(Sequence& sequence, int sample_index, std::span<float> logits);

  const EngineOptions options_;
  LanguageModel& model_;
  const std::unique_ptr<PagedCache> cache_;
  PrefixCache prefix_cache_;
  Scheduler scheduler_;
  Sampler sampler_;
  std::atomic<uint64_t> next_id_{1};
  Clock::time_point next_expiry_ = Clock::time_point::max();

  // Of the step in progress.
  const std::unique_ptr<Batch> batch_;
  GrowingMatrix x_memory_, logits_memory_;
  GrowingHostMatrix host_logits_;
  Matrix x_;
  std::vector<SequenceRows> rows_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> logit_rows_;
};

}  // namespace vl2
