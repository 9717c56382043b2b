// Rotary position embedding, in place.
//
// A head's rotary part has `dim` values, dim/2 pairs (a_i, b_i) turned by the angle of pair i at
// the token's position:  a' = a·cos − b·sin,  b' = b·cos + a·sin.
//   kHalves:       a_i = x[i], b_i = x[i + dim/2]; written back in place.
//                  transformers 4.38 LlamaAttention (use_mla false).
//   kInterleaved:  a_i = x[2i], b_i = x[2i+1]; written to [i] and [i + dim/2] (as halves).
//                  apply_rotary_pos_emb in modeling_deepseek.py (latent attention).
#pragma once

#include <cstdint>

#include "runtime/ops/batch.h"
#include "runtime/tensor/device_tensor.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

// cos and sin of every position below max_positions. Built once per model (lm_service/model).
struct RotaryTable {
  int64_t dim = 0;   // rotary values a head
  DeviceTensor cos;  // [max_positions, dim/2] float32
  DeviceTensor sin;  // [max_positions, dim/2] float32
};

enum class RotaryLayout { kHalves, kInterleaved };

// Checked: offset + (num_heads-1)·head_stride + table.dim <= x.cols; the batch's positions are
// below the table's end.
struct RotaryArgs {
  Matrix x;                 // [tokens, cols]
  int64_t num_heads = 0;    // rotary parts in each row
  int64_t head_stride = 0;  // values from one head to the next
  int64_t offset = 0;       // of the rotary part inside a head
  const Batch* batch = nullptr;
  const RotaryTable* table = nullptr;
  RotaryLayout layout = RotaryLayout::kHalves;
};

}  // namespace vl2
