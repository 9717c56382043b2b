// The paged cache as operations see it, and the ragged batch over which attention runs.
//
// A block holds kBlockTokens consecutive positions of one sequence for all layers. A sequence's
// block table maps position p to block table[p / kBlockTokens], slot p % kBlockTokens.
// One layer's part of a block, float32:
//   multi-head:  keys   [num_kv_heads][head_dim][kBlockTokens]   (after rotation; transposed so
//                                                             that scores run one lane per token)
//                values [num_kv_heads][kBlockTokens][head_dim]
//   latent:      [kBlockTokens][kv_lora_rank + qk_rope_head_dim]   (after norm and rotation)
#pragma once

#include <cstdint>
#include <span>

#include "runtime/tensor/matrix.h"

namespace vl2 {

inline constexpr int64_t kBlockTokens = 64;

// One layer of the cache. Borrowed.
struct PagedLayer {
  float* data = nullptr;     // the layer's part of block 0
  int64_t block_stride = 0;  // floats from a block to the next

  float* block(int32_t index) const { return data + index * block_stride; }
};

// One sequence's rows in a ragged batch: consecutive positions.
struct SequenceRows {
  int64_t first_row = 0;       // its first row in the batch
  int64_t num_rows = 0;        // >= 1
  int64_t first_position = 0;  // position of that row
  // Positions below are of the prompt, the others were generated. The two use different forms of
  // attention arithmetic, also when they are computed again after a preemption, so that a
  // position's result never depends on how it came into the batch.
  int64_t num_prompt = 0;
  const int32_t* block_table = nullptr;  // covers first_position + num_rows positions
};

// Writes rotated keys and values of the batch into a multi-head cache layer.
struct WriteKeysValuesArgs {
  ConstMatrix keys;    // [tokens, num_kv_heads * head_dim]
  ConstMatrix values;  // [tokens, num_kv_heads * head_dim]
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  std::span<const SequenceRows> sequences;
  PagedLayer cache;
};

// Writes normed latents with their rotated keys into a latent cache layer.
struct WriteLatentsArgs {
  ConstMatrix latents;  // [tokens, kv_lora_rank + qk_rope_head_dim]
  std::span<const SequenceRows> sequences;
  PagedLayer cache;
};

}  // namespace vl2
