// Scheduler: which sequences run, what a step computes, and who holds which block.
//
// Admission is all or nothing: a sequence runs when blocks for its prompt and one more token per
// sample, and host bytes for its missing embeddings, are there. Only growth while decoding
// preempts: the newest running sequence gives its blocks back, keeps embeddings and tokens, goes to
// the head of the queue and is computed again later, to the same bits. Steps are budgeted in time:
// every running sample gets its one token, prefill chunks fill the rest.
//
// Owns: all sequences, the block allocator; uses the prefix cache. Threading: engine thread only.
// Time is what its callers say. Limits: SchedulerOptions.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "lm_service/kv_cache/block_allocator.h"
#include "lm_service/kv_cache/prefix_cache.h"
#include "lm_service/scheduler/sequence.h"

namespace vl2 {

struct SchedulerOptions {
  int64_t num_blocks = 0;                          // of the cache
  int64_t max_running = 64;                        // sequences
  int64_t max_batch_tokens = 512;                  // rows of one step
  int64_t max_step_ms = 250;                       // aim of a step's duration
  int64_t slot_wait_timeout_ms = 60'000;           // without progress on missing embeddings
  int64_t max_embedding_bytes = int64_t{1} << 30;  // of host memory, all sequences

  absl::Status Validate() const;
};

// A run of rows of one step: positions of a prompt, or pending tokens of a sample.
struct StepRows {
  Sequence* sequence = nullptr;
  uint64_t id = 0;  // of the sequence
  int sample = -1;  // -1: the prompt
  int64_t first_position = 0;
  int64_t num_rows = 0;
  bool wants_logits = false;  // of the last row
};

class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;

  Scheduler(const SchedulerOptions& options, PrefixCache& prefix_cache);

  // Puts a sequence at the end of the queue.
  void Add(std::unique_ptr<Sequence> sequence, Clock::time_point now);
  Sequence* Find(uint64_t id);

  // Ends a sequence: blocks and bytes go back, its sink hears `status`.
  void Finish(uint64_t id, const absl::Status& status, Clock::time_point now);

  // Ends sequences whose deadline or wait for embeddings has passed. Returns the next such time.
  Clock::time_point Expire(Clock::time_point now);

  // Admits what fits and plans a step; empty when there is nothing to compute.
  std::vector<StepRows> PlanStep(Clock::time_point now);

  // Books a computed step: computed positions, prefix cache, forks. `copy_block(from, to)` copies a
  // block's keys and values. Sampling comes after, through Sequence::TakeToken.
  void CommitStep(const std::vector<StepRows>& step, double step_ms,
                  const Sequence::CopyBlock& copy_block);

  // For every sequence, waiting ones too.
  void ForEach(const std::function<void(Sequence&)>& visit);

  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  // Blocks that sequences hold, pinned ones of the prefix cache included.
  int64_t num_blocks_in_use() const;
  int64_t reserved_bytes() const { return reserved_bytes_; }
  int64_t num_preemptions() const { return num_preemptions_; }

 private:
  // Takes `count` blocks, evicting from the prefix cache when needed.
  std::optional<std::vector<int32_t>> TakeBlocks(int64_t count);
  void AdmitWaiting(Clock::time_point now);
  bool TryAdmit(Sequence& sequence, Clock::time_point now);
  bool ReserveBytes(Sequence& sequence);
  // Makes room for the sample's pending tokens; preempts others, newest first.
  bool Grow(Sequence& sequence, int sample, Clock::time_point now);
  void Preempt(Sequence& sequence);
  // A waiting sequence other than `for_whom` gives up the cached prefix it still pins; its embeddings
  // are needed again. False when none has any.
  bool DropWaitingPins(const Sequence* for_whom, Clock::time_point now);
  absl::Status TooLargeAlone() const;
  void AddPromptRows(Sequence& sequence, int64_t& budget, std::vector<StepRows>& step);
  void AddSampleRows(Sequence& sequence, bool catching_up, Clock::time_point now, int64_t& budget,
                     std::vector<StepRows>& step);
  int64_t PrefillBudget() const;

  const SchedulerOptions options_;
  PrefixCache& prefix_cache_;
  BlockAllocator allocator_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of admission
  int64_t reserved_bytes_ = 0;
  int64_t num_preemptions_ = 0;
  double ms_per_row_ = 0;  // of prefill, a running average; 0: not measured yet
};

}  // namespace vl2
