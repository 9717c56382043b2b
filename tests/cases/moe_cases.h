// Cases of Route (router.h) and Moe (moe.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <vector>

#include "runtime/ops/ops.h"
#include "tests/cases/random_data.h"

namespace vl2 {

struct MoeCase {
  const char* name = "";
  int64_t tokens = 1;
  int64_t hidden = 1;
  int64_t width = 1;
  int64_t shared_width = 0;  // 0: none
  int num_experts = 1;
  int top_k = 1;
  DType dtype = DType::kBF16;
  int popular = 0;  // > 0: tokens choose among that many experts only

  friend std::ostream& operator<<(std::ostream& stream, const MoeCase& c) {
    return stream << c.name << " " << c.tokens << " tokens hidden " << c.hidden << " width "
                  << c.width << " shared " << c.shared_width << " experts " << c.num_experts
                  << " top " << c.top_k << " " << Name(c.dtype) << " popular " << c.popular;
  }
};

// One layer of each published model; the number of tokens is the caller's to set.
inline std::vector<MoeCase> ModelMoeShapes() {
  return {{"tiny", 1, 1280, 896, 1792, 64, 6, DType::kBF16, 0},
          {"small", 1, 2048, 1408, 2816, 64, 6, DType::kBF16, 0},
          {"base", 1, 2560, 1536, 3072, 72, 6, DType::kBF16, 0}};
}

inline std::vector<MoeCase> MoeTestCases() {
  constexpr DType kBf16 = DType::kBF16;
  constexpr DType kF32 = DType::kF32;
  return {{"", 0, 8, 8, 8, 4, 2, kBf16, 0},       {"", 1, 1, 1, 0, 1, 1, kF32, 0},
          {"", 1, 5, 3, 7, 3, 2, kBf16, 0},       {"", 9, 17, 20, 0, 5, 3, kF32, 0},
          {"", 30, 128, 64, 128, 8, 3, kBf16, 0}, {"", 30, 128, 64, 128, 8, 3, kF32, 2},
          {"", 3, 130, 239, 33, 16, 6, kBf16, 0}, {"", 200, 40, 24, 56, 7, 4, kBf16, 0},
          {"", 64, 36, 48, 16, 64, 6, kBf16, 6},  {"", 2, 1280, 896, 1792, 8, 6, kBf16, 0}};
}

class MoeProblem {
 public:
  MoeProblem(const MoeCase& c, Ops* ops)
      : case_(c),
        x_(c.tokens, c.hidden, 3, 1.0f, 1),
        residual_(c.tokens, c.hidden, 2, 1.0f, 2),
        out_(c.tokens, c.hidden, 1) {
    const float up_scale = 3.0f / std::sqrt(static_cast<float>(c.hidden));
    for (int e = 0; e < c.num_experts; ++e) AddExpert(c.width, up_scale, 10 + 3 * e, ops);
    for (int e = 0; e < c.num_experts; ++e) {
      experts_.push_back(
          {gate_up_[static_cast<size_t>(e)].get(), down_[static_cast<size_t>(e)].get()});
    }
    if (c.shared_width > 0) {
      AddExpert(c.shared_width, up_scale, 5, ops);
      shared_ = {gate_up_.back().get(), down_.back().get()};
    }
    Choose();
  }

  void Run(Ops* ops, int64_t first, int64_t count) {
    ops->Moe({.x = x_.view().Rows(first, count),
              .top_k = case_.top_k,
              .expert_ids = ids_.data() + first * case_.top_k,
              .expert_weights = weights_.data() + first * case_.top_k,
              .experts = experts_,
              .shared = shared_,
              .residual = residual_.view().Rows(first, count),
              .out = out_.view().Rows(first, count)});
  }
  std::span<const float> result() const { return out_.all(); }
  double flops() const {
    return 6.0 * static_cast<double>(case_.tokens * case_.hidden *
                                     (case_.top_k * case_.width + case_.shared_width));
  }
  // Weights of the experts that tokens [first, first + count) use.
  double bytes(int64_t first, int64_t count) const {
    std::vector<bool> used(experts_.size());
    for (int64_t i = first * case_.top_k; i < (first + count) * case_.top_k; ++i) {
      used[static_cast<size_t>(ids_[static_cast<size_t>(i)])] = true;
    }
    const auto num_used = static_cast<double>(std::count(used.begin(), used.end(), true));
    return 3.0 * static_cast<double>(SizeOf(case_.dtype)) * static_cast<double>(case_.hidden) *
           (num_used * static_cast<double>(case_.width) + static_cast<double>(case_.shared_width));
  }

 private:
  void AddExpert(int64_t width, float up_scale, int seed, Ops* ops) {
    const float down_scale = 3.0f / std::sqrt(static_cast<float>(width));
    const auto s = static_cast<uint64_t>(seed);
    gate_up_.push_back(ops->PackGatedLinear(
        RandomTensor(case_.dtype, {width, case_.hidden}, up_scale, s).view(),
        RandomTensor(case_.dtype, {width, case_.hidden}, up_scale, s + 1).view()));
    down_.push_back(ops->PackLinear(
        RandomTensor(case_.dtype, {case_.hidden, width}, down_scale, s + 2).view()));
  }
  // top_k different experts a token, ascending, with weights in (0, 1).
  void Choose() {
    RandomSource random(3);
    const int choices =
        case_.popular > 0 ? std::max(case_.popular, case_.top_k) : case_.num_experts;
    std::vector<int32_t> order(static_cast<size_t>(choices));
    for (int64_t t = 0; t < case_.tokens; ++t) {
      for (int e = 0; e < choices; ++e) order[static_cast<size_t>(e)] = e;
      for (int k = 0; k < case_.top_k; ++k) {
        std::swap(order[static_cast<size_t>(k)],
                  order[static_cast<size_t>(k + random.Below(choices - k))]);
      }
      std::sort(order.begin(), order.begin() + case_.top_k);
      for (int k = 0; k < case_.top_k; ++k) {
        ids_.push_back(order[static_cast<size_t>(k)]);
        weights_.push_back(0.5f + random.Uniform(0.49f));
      }
    }
  }

  const MoeCase case_;
  SpacedMatrix x_;
  SpacedMatrix residual_;
  SpacedMatrix out_;
  std::vector<std::unique_ptr<GatedLinearWeight>> gate_up_;
  std::vector<std::unique_ptr<LinearWeight>> down_;
  std::vector<ExpertWeights> experts_;
  ExpertWeights shared_;
  std::vector<int32_t> ids_;
  std::vector<float> weights_;
};

struct RouteCase {
  int64_t tokens = 1;
  int64_t hidden = 1;
  DType dtype = DType::kF32;
  RouterConfig config;
};

inline std::vector<RouteCase> RouteTestCases() {
  const RouterConfig greedy = {.num_experts = 64, .top_k = 6};
  const RouterConfig grouped = {.scoring_func = ScoringFunc::kSoftmax,
                                .topk_method = TopkMethod::kGroupLimitedGreedy,
                                .num_experts = 16,
                                .top_k = 3,
                                .num_groups = 4,
                                .topk_group = 2,
                                .norm_topk_prob = true,
                                .routed_scaling_factor = 1.5f};
  const RouterConfig no_aux = {.scoring_func = ScoringFunc::kSigmoid,
                               .topk_method = TopkMethod::kNoAuxTc,
                               .num_experts = 72,
                               .top_k = 6,
                               .norm_topk_prob = true,
                               .routed_scaling_factor = 2.0f};
  return {{0, 8, DType::kF32, greedy},     {1, 1280, DType::kF32, greedy},
          {50, 239, DType::kBF16, greedy}, {7, 128, DType::kF32, grouped},
          {33, 2560, DType::kF32, no_aux}, {200, 64, DType::kBF16, no_aux}};
}

class RouteProblem {
 public:
  RouteProblem(const RouteCase& c, Ops* ops)
      : case_(c),
        x_(c.tokens, c.hidden, 3, 1.0f, 1),
        bias_(RandomFloats(c.config.num_experts, 0.2f, 2)),
        ids_(static_cast<size_t>(c.tokens * c.config.top_k), -1),
        weights_(static_cast<size_t>(c.tokens * c.config.top_k)) {
    weight_ = ops->PackLinear(RandomTensor(c.dtype, {c.config.num_experts, c.hidden},
                                           3.0f / std::sqrt(static_cast<float>(c.hidden)), 3)
                                  .view());
  }
  void Run(Ops* ops, int64_t first, int64_t count) {
    const bool biased = case_.config.topk_method == TopkMethod::kNoAuxTc;
    ops->Route({.x = x_.view().Rows(first, count),
                .weight = weight_.get(),
                .correction_bias = biased ? bias_.data() : nullptr,
                .config = &case_.config,
                .expert_ids = ids_.data() + first * case_.config.top_k,
                .expert_weights = weights_.data() + first * case_.config.top_k});
  }
  const std::vector<int32_t>& ids() const { return ids_; }
  const std::vector<float>& weights() const { return weights_; }

 private:
  const RouteCase case_;
  SpacedMatrix x_;
  std::vector<float> bias_;
  std::vector<int32_t> ids_;
  std::vector<float> weights_;
  std::unique_ptr<LinearWeight> weight_;
};

}  // namespace vl2
