#include "runtime/ops/router.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace vl2 {
namespace {

// Marks the `count` best of `values`; ties go to the lower index.
void MarkBest(const float* values, int num_values, int count, bool* marked) {
  std::array<int, RouterConfig::kMaxExperts> order;
  std::iota(order.begin(), order.begin() + num_values, 0);
  std::partial_sort(
      order.begin(), order.begin() + count, order.begin() + num_values,
      [values](int a, int b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  std::fill(marked, marked + num_values, false);
  for (int i = 0; i < count; ++i) marked[order[static_cast<size_t>(i)]] = true;
}

// scores[e] of all experts from their logits, float32.
void Score(ScoringFunc function, const float* logits, int num_experts, float* scores) {
  if (function == ScoringFunc::kSigmoid) {
    for (int e = 0; e < num_experts; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    return;
  }
  const float max = *std::max_element(logits, logits + num_experts);
  float sum = 0;
  for (int e = 0; e < num_experts; ++e) sum += scores[e] = std::exp(logits[e] - max);
  for (int e = 0; e < num_experts; ++e) scores[e] /= sum;
}

// Sets to 0 the values of every group but the best ones. A group's score: its best value, or the
// sum of its two best.
void KeepBestGroups(const RouterConfig& config, bool sum_of_two, float* values) {
  const int group_size = config.num_experts / config.num_groups;
  std::array<float, RouterConfig::kMaxExperts> group_scores;
  for (int g = 0; g < config.num_groups; ++g) {
    float best = -INFINITY;
    float second = -INFINITY;
    for (int i = 0; i < group_size; ++i) {
      const float value = values[g * group_size + i];
      if (value > best) {
        second = best;
        best = value;
      } else if (value > second) {
        second = value;
      }
    }
    group_scores[static_cast<size_t>(g)] = sum_of_two && group_size > 1 ? best + second : best;
  }
  std::array<bool, RouterConfig::kMaxExperts> kept;
  MarkBest(group_scores.data(), config.num_groups, config.topk_group, kept.data());
  for (int e = 0; e < config.num_experts; ++e) {
    if (!kept[static_cast<size_t>(e / group_size)]) values[e] = 0.0f;
  }
}

}  // namespace

void SelectExperts(const RouterConfig& config, const float* logits, const float* correction_bias,
                   int32_t* ids, float* weights) {
  std::array<float, RouterConfig::kMaxExperts> scores;  // what becomes the weights
  std::array<float, RouterConfig::kMaxExperts> choice;  // what decides
  Score(config.scoring_func, logits, config.num_experts, scores.data());
  switch (config.topk_method) {
    case TopkMethod::kGreedy:
      choice = scores;
      break;
    case TopkMethod::kGroupLimitedGreedy:
      KeepBestGroups(config, /*sum_of_two=*/false, scores.data());
      choice = scores;
      break;
    case TopkMethod::kNoAuxTc:
      for (int e = 0; e < config.num_experts; ++e) {
        choice[static_cast<size_t>(e)] = scores[static_cast<size_t>(e)] + correction_bias[e];
      }
      KeepBestGroups(config, /*sum_of_two=*/true, choice.data());
      break;
  }
  std::array<bool, RouterConfig::kMaxExperts> chosen;
  MarkBest(choice.data(), config.num_experts, config.top_k, chosen.data());

  int count = 0;
  float sum = 0;
  for (int e = 0; e < config.num_experts; ++e) {
    if (!chosen[static_cast<size_t>(e)]) continue;
    ids[count] = e;
    weights[count] = scores[static_cast<size_t>(e)];
    sum += weights[count++];
  }
  const bool normalise = config.norm_topk_prob && config.top_k > 1;
  for (int i = 0; i < config.top_k; ++i) {
    if (normalise) weights[i] /= sum + 1e-20f;
    weights[i] *= config.routed_scaling_factor;
  }
}

}  // namespace vl2
