// Sequence: one request inside the engine: its prompt, its pictures' embeddings, its samples and
// the blocks they hold.
//
// Owns: embeddings on the host; holds blocks by number (the Scheduler takes and gives them).
// Threading: engine thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "lm_service/kv_cache/prefix_cache.h"
#include "lm_service/sampling/token_history.h"
#include "lm_service/scheduler/request.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

// The embeddings of one picture of a prompt, as they arrive.
class SlotEmbeddings {
 public:
  SlotEmbeddings(int64_t first_position, int64_t num_embeddings, int64_t hidden);

  int64_t first_position() const { return first_position_; }
  int64_t num_embeddings() const { return num_embeddings_; }
  // Embeddings below are covered by the prefix cache and never asked for.
  int64_t first_needed() const { return first_needed_; }
  void set_first_needed(int64_t first) { first_needed_ = first; }
  // The cached part was lost: all embeddings are needed.
  void NeedAll();
  // Embeddings [first_needed, num_ready) are here.
  int64_t num_ready() const { return num_ready_; }
  bool complete() const { return num_ready_ == num_embeddings_; }

  // Takes embeddings [first, first + rows). Those that are here already are left as they are.
  void Add(int64_t first, ConstMatrix embeddings);
  // REQUIRES: first_needed <= index < num_ready.
  const float* row(int64_t index) const { return data_.data() + index * hidden_; }

  // Host memory they take once they arrive.
  int64_t num_bytes() const {
    return num_embeddings_ * hidden_ * static_cast<int64_t>(sizeof(float));
  }

 private:
  void UpdateReady();

  const int64_t first_position_;
  const int64_t num_embeddings_;
  const int64_t hidden_;
  int64_t first_needed_ = 0;
  int64_t num_ready_ = 0;
  std::vector<float> data_;    // [num_embeddings, hidden], empty until the first arrive
  std::vector<bool> is_here_;  // per embedding
};

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

struct Sequence {
  using Clock = std::chrono::steady_clock;

  uint64_t id = 0;
  GenerateRequest request;
  std::shared_ptr<GenerateSink> sink;

  std::vector<int32_t> prompt_ids;  // image_token_id at pictures
  std::vector<SlotEmbeddings> slots;
  std::vector<BlockKey> block_keys;  // of the prompt's full blocks; empty where sharing is off
  int64_t max_new_tokens = 0;

  // Full blocks of the prompt, shared by the samples. shared_blocks[i] belongs to the prefix cache,
  // pinned, where in_cache[i]; otherwise to this sequence.
  std::vector<int32_t> shared_blocks;
  std::vector<bool> in_cache;
  int64_t num_prompt_computed = 0;
  std::vector<Sample> samples;

  int64_t reserved_bytes = 0;  // of host memory for embeddings
  bool slots_announced = false;
  GenerateStats stats;
  Clock::time_point submitted, admitted, first_token, last_progress;

  int64_t num_prompt() const { return static_cast<int64_t>(prompt_ids.size()); }
  bool prompt_done() const { return num_prompt_computed == num_prompt(); }
  bool finished() const {
    for (const Sample& sample : samples) {
      if (!sample.finished) return false;
    }
    return true;
  }
  // Prompt positions [0, ReadyPositions()) can be computed: no embedding among them is missing.
  int64_t ReadyPositions() const;
};

}  // namespace vl2
