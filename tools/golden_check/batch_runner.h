// BatchRunner: runs several prompts through a language model in one ragged batch, greedily, the way
// the engine does: prefill in chunks beside the decode steps of prompts that are further on.
//
// Owns: cache and sequences. Threading: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lm_service/kv_cache/kv_cache.h"
#include "lm_service/model/language_model.h"

namespace vl2 {

class BatchRunner {
 public:
  struct Sequence {
    ConstHostMatrix inputs;          // [num_prompt, hidden], the prompt's input vectors
    std::vector<int32_t> generated;  // greedy continuation so far
    std::vector<int32_t> block_table;
    int64_t num_done = 0;  // positions whose keys are in the cache
  };
  // Called after each forward with the logits of a sequence's newest position.
  using OnLogits = std::function<void(size_t sequence, std::span<const float> logits)>;

  // `chunk`: prompt tokens per step and sequence, 0 for all at once.
  BatchRunner(LanguageModel& model, std::vector<ConstHostMatrix> prompts, int64_t chunk,
              int64_t num_new_tokens);

  // Runs until every sequence has its new tokens. `watched` positions of sequence 0 get logits too;
  // `tap` sees every forward, told by `before_step` which rows are sequence 0's.
  void Run(std::span<const int64_t> watched, Tap* tap,
           const std::function<void(const SequenceRows*, std::span<const int64_t>)>& before_step,
           const OnLogits& on_logits);

  // Logits of the watched positions, [watched.size(), vocab].
  const std::vector<float>& watched_logits() const { return watched_logits_; }
  const Sequence& sequence(size_t index) const { return sequences_[index]; }
  const PagedCache& cache() const { return *cache_; }

 private:
  bool Step(std::span<const int64_t> watched, Tap* tap,
            const std::function<void(const SequenceRows*, std::span<const int64_t>)>& before_step,
            const OnLogits& on_logits);

  LanguageModel& model_;
  const int64_t chunk_;
  const int64_t num_new_tokens_;
  std::vector<Sequence> sequences_;
  std::unique_ptr<PagedCache> cache_;
  const std::unique_ptr<Batch> batch_;
  GrowingMatrix x_memory_, logits_memory_;
  GrowingHostMatrix host_logits_;
  std::vector<float> watched_logits_;
};

}  // namespace vl2
