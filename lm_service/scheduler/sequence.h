// Sequence: one request inside the engine: its prompt, its pictures' embeddings, its samples and
// the blocks they hold.
//
// A sequence holds blocks in one of two ways. Waiting, it holds at most the leading blocks of its
// prompt that the prefix cache has, pinned (PinPrefix), so that what need not be uploaded stays.
// Running (from Admit to ReleaseBlocks or Preempt), it also holds blocks of its own: the rest of
// the prompt's full blocks, shared by its samples, and each sample's own from there on.
//
// The prefix rule: of a prompt, every full block may come from the cache that ends before the last
// prompt token, which is always computed because its logits are needed. Embeddings at cached
// positions are not asked for.
//
// Owns: embeddings on the host; holds blocks by number, which come from and go to the Scheduler's
// allocator and the prefix cache. Threading: one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lm_service/kv_cache/block_allocator.h"
#include "lm_service/kv_cache/prefix_cache.h"
#include "lm_service/sampling/token_history.h"
#include "lm_service/scheduler/request.h"
#include "lm_service/scheduler/slot_embeddings.h"

namespace vl2 {

// One of the answers to a request.
struct Sample {
  std::vector<int32_t> generated;    // ids, generated_prefix included
  int64_t num_computed = 0;          // of them, how many have keys in the cache
  std::vector<int32_t> own_blocks;   // from the block of the prompt's last partial part on
  std::vector<int32_t> block_table;  // the sequence's shared blocks, then own_blocks
  TokenHistory history;              // what penalties see
  bool finished = false;

  int64_t num_pending() const { return static_cast<int64_t>(generated.size()) - num_computed; }
};

// What a sequence has to know of the model.
struct SequenceLimits {
  int64_t hidden = 0;
  int64_t max_new_tokens = 0;  // of each sample, generated_prefix included; >= 1
  int32_t end_token_id = -1;   // ends a sample unless the request says otherwise
};

class Sequence {
 public:
  using Clock = std::chrono::steady_clock;
  using CopyBlock = std::function<void(int32_t from, int32_t to)>;

  // REQUIRES: the request is a valid one (EngineCore checks it), its prompt not empty.
  Sequence(uint64_t id, GenerateRequest request, std::shared_ptr<GenerateSink> sink,
           const SequenceLimits& limits, Clock::time_point now);

  uint64_t id() const { return id_; }
  const GenerateRequest& request() const { return request_; }
  const std::string& client() const { return request_.client_id; }
  int priority() const { return request_.priority; }
  const GenerateStats& stats() const { return stats_; }

  const std::vector<int32_t>& prompt_ids() const { return prompt_ids_; }
  int64_t num_prompt() const { return static_cast<int64_t>(prompt_ids_.size()); }
  int64_t num_prompt_computed() const { return num_prompt_computed_; }
  bool prompt_done() const { return num_prompt_computed_ == num_prompt(); }
  const std::vector<Sample>& samples() const { return samples_; }
  const Sample& sample(int index) const { return samples_[static_cast<size_t>(index)]; }
  bool finished() const;  // all samples

  // Embeddings.
  const std::vector<SlotEmbeddings>& slots() const { return slots_; }
  // Prompt positions [0, ReadyPositions()) can be computed: no embedding among them is missing.
  int64_t ReadyPositions() const;
  // Host memory that all embeddings of the prompt take.
  int64_t EmbeddingBytes() const;
  // Of it, what is reserved: nothing, or all.
  int64_t reserved_bytes() const { return reserved_bytes_; }
  void ReserveBytes() { reserved_bytes_ = EmbeddingBytes(); }
  // Tells the sink what is needed. From now on missing embeddings count as late.
  void AnnounceSlots(Clock::time_point now);
  bool slots_announced() const { return slots_announced_; }
  // Gives the host memory back. What is needed is asked for again by the next AnnounceSlots.
  void DropEmbeddings();
  // Since when nothing came of what was asked for. REQUIRES: slots_announced().
  Clock::time_point last_progress() const { return last_progress_; }
  // Without effect on a sequence that has no memory reserved: what comes late was dropped.
  void AddEmbeddings(int slot, int64_t first, ConstHostMatrix embeddings, Clock::time_point now);

  // Blocks.
  // Pins what the cache has of the prompt, in place of all blocks held: more may be cached by now.
  // Until the slots are announced, it also decides which embeddings are needed.
  void PinPrefix(PrefixCache& cache, BlockAllocator& allocator);
  // As above for a sequence that no scheduler has yet; REQUIRES: it holds no blocks.
  void PinPrefix(PrefixCache& cache);
  void UnpinPrefix(PrefixCache& cache);
  // From Admit to the blocks' release.
  bool is_running() const { return is_running_; }
  // All blocks held.
  int64_t num_blocks() const;
  // Leading blocks of the prompt held, pinned ones of the cache first.
  int64_t num_shared_blocks() const { return static_cast<int64_t>(shared_blocks_.size()); }
  // Blocks to run: for what is not pinned of the prompt and for each sample's tokens, at least one.
  int64_t NumBlocksToRun() const;
  // Takes NumBlocksToRun() blocks and starts, or starts again, behind the pinned prefix.
  void Admit(const std::vector<int32_t>& blocks, Clock::time_point now);
  // The blocks that hold a sample's positions; -1: the prompt's, while it is computed.
  const std::vector<int32_t>& BlockTable(int sample) const;
  // Blocks that a sample lacks for its pending tokens; <= 0: none.
  int64_t NumBlocksToGrow(int sample) const;
  void Grow(int sample, const std::vector<int32_t>& blocks);
  // Gives all blocks back. What was computed is forgotten, tokens and embeddings stay.
  void ReleaseBlocks(PrefixCache& cache, BlockAllocator& allocator);
  // As ReleaseBlocks, but what was never uploaded because it was cached stays pinned: nobody could
  // compute it again.
  void Preempt(PrefixCache& cache, BlockAllocator& allocator);
  // As ReleaseBlocks; asks for the embeddings that the lost prefix stood for.
  void GiveUpPrefix(PrefixCache& cache, BlockAllocator& allocator, Clock::time_point now);

  // Progress.
  // Books computed prompt positions; full blocks go into the cache.
  void AdvancePrompt(int64_t num_rows, PrefixCache& cache, const CopyBlock& copy_block);
  // Notes when prompt positions were computed, for a trace.
  void NotePrefill(int64_t first, int64_t num_rows, Clock::time_point begin, Clock::time_point end);
  // Books computed tokens of a sample.
  void AdvanceSample(int sample, int64_t num_rows);
  // Appends a drawn token and tells the sink; ends the sample when it is its last.
  void TakeToken(int sample, const SampledToken& token, Clock::time_point now);
  // Tells the sink that this is the end.
  void End(const absl::Status& status, Clock::time_point now);
  // The number of the last step that computed something of it.
  int64_t last_step() const { return last_step_; }
  void set_last_step(int64_t step) { last_step_ = step; }

 private:
  // How many leading blocks the prefix rule lets come from the cache.
  size_t MaxCachedBlocks() const;
  // Gives back shared blocks from `keep` on, and all own blocks.
  void Release(size_t keep, PrefixCache& cache, BlockAllocator& allocator);
  void TakePins(std::vector<int32_t> pinned);
  // Blocks of its own that a sample needs to run.
  int64_t NumOwnBlocks(const Sample& sample) const;
  // The first that has not ended: the prompt's last partial part is computed in its own block.
  const Sample& PromptSample() const;
  bool EndsSample(int32_t token_id) const;
  void Note(SequenceTimeline::Kind kind, Clock::time_point now, int64_t first = 0,
            int64_t count = 0) const {
    if (request_.timeline != nullptr) request_.timeline->Add(kind, now, first, count);
  }

  const uint64_t id_;
  const GenerateRequest request_;
  const std::shared_ptr<GenerateSink> sink_;
  const SequenceLimits limits_;

  std::vector<int32_t> prompt_ids_;  // image_token_id at pictures
  std::vector<SlotEmbeddings> slots_;
  std::vector<BlockKey> block_keys_;  // of the prompt's full blocks; ends where sharing is off

  // Full blocks of the prompt, shared by the samples. shared_blocks_[i] belongs to the prefix
  // cache, pinned, where in_cache_[i]; otherwise to this sequence.
  std::vector<int32_t> shared_blocks_;
  std::vector<bool> in_cache_;
  bool is_running_ = false;
  int64_t num_prompt_computed_ = 0;
  std::vector<Sample> samples_;
  int64_t last_step_ = 0;

  int64_t reserved_bytes_ = 0;
  bool slots_announced_ = false;
  GenerateStats stats_;
  Clock::time_point submitted_, admitted_, first_token_, last_progress_;
};

// Keys of a prompt's full blocks, up to the first that holds a picture without a key.
std::vector<BlockKey> MakeBlockKeys(const GenerateRequest& request,
                                    const std::vector<int32_t>& prompt_ids);

}  // namespace vl2
