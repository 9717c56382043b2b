// Route: which experts each token uses, and with what weight. Source: MoEGate.forward in
// modeling_deepseek.py.
//
// logits = x · Wᵀ in float32 on float32 weights; scores = softmax or sigmoid of them. By method:
//   kGreedy              the top_k best scores.
//   kGroupLimitedGreedy  a group's score is its best score; the topk_group best groups keep their
//                        scores, all others become 0.0; then the top_k best of those.
//   kNoAuxTc             a bias is added for choosing only; a group's score is the sum of its two
//                        best biased scores; other groups' biased scores become 0.0 (not −inf: they
//                        can win when all others are negative); weights are the unbiased scores.
// weights: norm_topk_prob and top_k > 1: divided by (sum + 1e-20), then times
// routed_scaling_factor; otherwise times the factor alone. Ties go to the lower expert id.
#pragma once

#include <cstdint>

#include "runtime/ops/linear.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

enum class ScoringFunc { kSoftmax, kSigmoid };
enum class TopkMethod { kGreedy, kGroupLimitedGreedy, kNoAuxTc };

struct RouterConfig {
  ScoringFunc scoring_func = ScoringFunc::kSoftmax;
  TopkMethod topk_method = TopkMethod::kGreedy;
  int num_experts = 0;
  int top_k = 0;       // 1 <= top_k <= num_experts, at most kMaxTopK
  int num_groups = 1;  // divides num_experts
  int topk_group = 1;  // 1 <= topk_group <= num_groups
  bool norm_topk_prob = false;
  float routed_scaling_factor = 1.0f;

  static constexpr int kMaxExperts = 1024;
  static constexpr int kMaxTopK = 64;
};

// Checked: weight is [num_experts, x.cols]; correction_bias present exactly for kNoAuxTc.
struct RouteArgs {
  ConstMatrix x;                                  // [tokens, hidden]
  const LinearWeight* weight = nullptr;           // [num_experts, hidden]
  const DeviceTensor* correction_bias = nullptr;  // [num_experts] float32, kNoAuxTc only
  const RouterConfig* config = nullptr;
  Matrix expert_ids;      // out [tokens, top_k] int32, ascending ids
  Matrix expert_weights;  // out [tokens, top_k] float32, same order
};

// Chooses the experts of one token from its logits; shared by the bodies on the host. `ids` and
// `weights` have top_k elements.
void SelectExperts(const RouterConfig& config,
                   const float* logits,           // [num_experts]
                   const float* correction_bias,  // [num_experts] or null
                   int32_t* ids,                  // out [top_k], ascending
                   float* weights);               // out [top_k]

}  // namespace vl2
