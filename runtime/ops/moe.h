// Moe: the mixture-of-experts feed-forward layer. Source: DeepseekV2MoE (modeling_deepseek.py).
//
//   E(x) = down(silu(gate(x)) ⊙ up(x))
//   out  = residual + (Σ_e w_e · E_e(x) + E_shared(x)),   e over the token's experts, ascending id
//
// The sum runs in float32 in that order, so a token's result does not depend on its neighbours.
// Expert products follow Linear and GatedLinear. An expert's weights are read once for all its
// tokens in the batch.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/ops/linear.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

struct ExpertWeights {
  const GatedLinearWeight* gate_up = nullptr;  // two of [width, hidden]
  const LinearWeight* down = nullptr;          // [hidden, width]
};

// Checked: shapes of every expert; ids ascending and below experts.size(). `out` may be `residual`,
// not `x`.
struct MoeArgs {
  ConstMatrix x;  // [tokens, hidden]
  int top_k = 0;
  const int32_t* expert_ids = nullptr;    // [tokens, top_k], ascending in each row
  const float* expert_weights = nullptr;  // [tokens, top_k]
  std::span<const ExpertWeights> experts;
  ExpertWeights shared;  // null pointers: no shared experts; its width may differ
  ConstMatrix residual;  // [tokens, hidden]
  Matrix out;            // [tokens, hidden]
};

}  // namespace vl2
