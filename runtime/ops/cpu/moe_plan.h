// MoePlan: the tokens of a batch grouped by expert, and the memory of a mixture-of-experts layer.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/ops/cpu/matmul.h"
#include "runtime/ops/moe.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

// Entry i of `tokens` and `slots` is one (token, choice) pair; an expert's pairs are consecutive.
struct MoePlan {
  std::vector<int32_t> first;   // [num_experts + 1], an expert's first pair
  std::vector<int32_t> tokens;  // row of x
  std::vector<int32_t> slots;   // token · top_k + choice: row of `outputs`
  std::vector<MatmulTask> tasks;
  GrowingHostMatrix inner;         // silu(gate) ⊙ up, all experts one after the other
  GrowingHostMatrix shared_inner;  // [tokens, shared width]
  // Of formats that round them: x, inner and shared_inner as integers.
  GrowingHostMatrix x_rows, inner_rows, shared_rows;
  GrowingHostMatrix outputs;  // [tokens · top_k, hidden]
  GrowingHostMatrix shared;   // [tokens, hidden]
};

}  // namespace vl2
