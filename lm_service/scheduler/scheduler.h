// Scheduler: which sequences run, what a step computes, and who holds which block.
//
// Admission is all or nothing: a sequence runs when blocks for its prompt and one more token per
// sample, and host bytes for its missing embeddings, are there. A sequence that is preempted gives
// its blocks back, keeps embeddings and tokens, goes to the head of the queue and is computed again
// later, to the same bits. Steps are budgeted in time: every running sample gets its one token,
// prefill chunks fill the rest.
//
// Clients take turns, and shares bind only where they compete (ARCHITECTURE.md, Scheduling). What
// holds for clients below holds for tenants first, and for clients within their tenant:
//   - the highest priority is admitted next, of equal ones who runs fewest sequences, of one client
//     the oldest;
//   - a client takes a running place or blocks from the one that runs most, if that runs at least
//     twice as many as it would then itself; host memory, if that keeps at least as much;
//   - growth while decoding preempts the newest sequence of the client that runs most;
//   - a lower priority gives way to a higher one whatever the shares, and never the other way;
//   - a step's prefill rows are divided evenly; while one client's prompt is computed another
//     client's decoding takes a third of the step at most.
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
#include <string>
#include <vector>

#include "lm_service/kv_cache/block_allocator.h"
#include "lm_service/kv_cache/prefix_cache.h"
#include "lm_service/scheduler/client_turns.h"
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

// Next tokens, or what is behind: prompts, and tokens from before a preemption.
enum class RowKind { kDecode, kPrefill };

class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;

  Scheduler(const SchedulerOptions& options, PrefixCache& prefix_cache);

  // Puts a sequence at the end of its client's queue.
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
  void ForEach(const std::function<void(Sequence&)>& visit) const;

  // Admitted sequences by what they do.
  struct Phases {
    int64_t prefill = 0;
    int64_t decode = 0;
    int64_t awaiting_embeddings = 0;  // nothing of their prompt can be computed before more come
  };
  Phases phases() const;
  int64_t num_slot_timeouts() const { return num_slot_timeouts_; }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  // Clients with a sequence here; with one that waits.
  int64_t num_clients() const { return static_cast<int64_t>(turns_.entries().size()); }
  int64_t num_clients_waiting() const;
  // Blocks that sequences hold, pinned ones of the prefix cache included.
  int64_t num_blocks_in_use() const;
  int64_t reserved_bytes() const { return reserved_bytes_; }
  int64_t num_preemptions() const { return num_preemptions_; }

 private:
  // What a client asks of a step.
  struct Demand {
    std::string client;
    std::vector<Sequence*> sequences;  // in order of admission
    int64_t num_rows = 0;
  };
  // Admission (scheduler.cc).
  // Takes `count` blocks, evicting from the prefix cache when needed.
  std::optional<std::vector<int32_t>> TakeBlocks(int64_t count);
  void AdmitWaiting(Clock::time_point now);
  // All that wait: highest priority first, then by turns of tenants and of clients, oldest first.
  std::vector<Sequence*> WaitingInTurn() const;
  // The next in turn that has host memory for its embeddings; nullptr: none.
  Sequence* NextToAdmit(Clock::time_point now);
  // False when there is no room now; else it runs, or has ended because there never will be.
  bool Admit(Sequence& sequence, Clock::time_point now);
  bool TryAdmit(Sequence& sequence, Clock::time_point now);
  bool ReserveBytes(Sequence& sequence);
  // Blocks that it needs to run beyond those that are free or can be evicted; <= 0: none.
  int64_t NumMissingBlocks(const Sequence& sequence) const;
  int64_t NumRunning(const std::string& client) const;
  absl::Status TooLargeAlone() const;

  // Taking from others (make_room.cc).
  // Preempts so that a running place and the blocks it needs become free, or nobody.
  bool TakeRunningPlaces(const Sequence& for_whom);
  // Takes embeddings from others until there is room for the sequence's, or from nobody.
  bool TakeHostMemory(const Sequence& for_whom);
  // Makes room for the sample's pending tokens; preempts others.
  bool Grow(Sequence& sequence, int sample, Clock::time_point now);
  // Of the lowest priority the newest sequence of the client that runs most of the tenant that runs
  // most; of several such, of all the newest.
  Sequence& NewestOfGreediest() const;
  void Preempt(Sequence& sequence);
  // A waiting sequence other than `for_whom` gives up the cached prefix it still pins, the newest
  // first; its embeddings are needed again. False when none has any.
  bool DropWaitingPins(const Sequence* for_whom, Clock::time_point now);

  // Steps (plan_step.cc).
  std::vector<Demand> Demands(RowKind kind) const;
  void PlanDecode(Clock::time_point now, std::vector<StepRows>& step);
  // How many rows each gets.
  std::vector<int64_t> DecodeShares(const std::vector<Demand>& decode) const;
  void PlanPrefill(Clock::time_point now, std::vector<StepRows>& step);
  void AddPromptRows(Sequence& sequence, int64_t budget, std::vector<StepRows>& step) const;
  void AddSampleRows(Sequence& sequence, RowKind kind, int64_t budget, Clock::time_point now,
                     std::vector<StepRows>& step);
  int64_t PrefillBudget() const;

  const SchedulerOptions options_;
  PrefixCache& prefix_cache_;
  BlockAllocator allocator_;
  std::deque<std::unique_ptr<Sequence>> waiting_;   // a client's sequences in its order
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of admission
  ClientTurns turns_;
  int64_t reserved_bytes_ = 0;
  int64_t num_slot_timeouts_ = 0;
  int64_t num_preemptions_ = 0;
  int64_t step_number_ = 0;
  double ms_per_row_ = 0;  // of prefill, a running average; 0: not measured yet
};

}  // namespace vl2
