// Cases of Route (router.h) and Moe (moe.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <vector>

#include "runtime/ops/ops.h"
#include "runtime/weight_format/superblock.h"
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
  WeightFormat format = WeightFormat::kAsStored;

  friend std::ostream& operator<<(std::ostream& stream, const MoeCase& c) {
    return stream << c.name << " " << c.tokens << " tokens hidden " << c.hidden << " width "
                  << c.width << " shared " << c.shared_width << " experts " << c.num_experts
                  << " top " << c.top_k << " " << Name(c.dtype) << " popular " << c.popular << " "
                  << Name(c.format);
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
        x_(ops->device(), c.tokens, c.hidden, 3, 1.0f, 1),
        residual_(ops->device(), c.tokens, c.hidden, 2, 1.0f, 2),
        out_(ops->device(), c.tokens, c.hidden, 1),
        ids_(ops->device(), DType::kI32),
        weights_(ops->device()) {
    const float up_scale = 3.0f / std::sqrt(static_cast<float>(c.hidden));
    weight_ = ops->PackExperts(
        {.num_experts = c.num_experts,
         .hidden = c.hidden,
         .width = c.width,
         .shared_width = c.shared_width},
        [&](int64_t index) {
          const bool shared = index == c.num_experts;
          MakeExpert(shared ? c.shared_width : c.width, up_scale,
                     shared ? 5 : static_cast<uint64_t>(10 + 3 * index));
          return ExpertTensors{gate_.view(), up_.view(), down_.view()};
        },
        c.format);
    Choose();
    choices_ = ids_.Resize(c.tokens, c.top_k);
    choice_weights_ = weights_.Resize(c.tokens, c.top_k);
    ops->device().CopyFromHost(choices_.data, reinterpret_cast<const std::byte*>(host_ids_.data()),
                               host_ids_.size() * sizeof(int32_t));
    ops->device().CopyFromHost(choice_weights_.data,
                               reinterpret_cast<const std::byte*>(host_weights_.data()),
                               host_weights_.size() * sizeof(float));
  }

  void Run(Ops* ops, int64_t first, int64_t count) {
    ops->Moe({.x = x_.view().Rows(first, count),
              .expert_ids = choices_.Rows(first, count),
              .expert_weights = choice_weights_.Rows(first, count),
              .weight = weight_.get(),
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
    std::vector<bool> used(static_cast<size_t>(case_.num_experts));
    for (int64_t i = first * case_.top_k; i < (first + count) * case_.top_k; ++i) {
      used[static_cast<size_t>(host_ids_[static_cast<size_t>(i)])] = true;
    }
    const auto num_used = static_cast<double>(std::count(used.begin(), used.end(), true));
    return 3.0 * BytesPerWeight() * static_cast<double>(case_.hidden) *
           (num_used * static_cast<double>(case_.width) + static_cast<double>(case_.shared_width));
  }

 private:
  double BytesPerWeight() const {
    if (case_.format == WeightFormat::kAsStored) return static_cast<double>(SizeOf(case_.dtype));
    return static_cast<double>(SuperblockBytes(case_.format)) / (kSuperblockK * kSuperblockLanes);
  }
  void MakeExpert(int64_t width, float up_scale, uint64_t seed) {
    const float down_scale = 3.0f / std::sqrt(static_cast<float>(width));
    gate_ = RandomTensor(case_.dtype, {width, case_.hidden}, up_scale, seed);
    up_ = RandomTensor(case_.dtype, {width, case_.hidden}, up_scale, seed + 1);
    down_ = RandomTensor(case_.dtype, {case_.hidden, width}, down_scale, seed + 2);
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
        host_ids_.push_back(order[static_cast<size_t>(k)]);
        host_weights_.push_back(0.5f + random.Uniform(0.49f));
      }
    }
  }

  const MoeCase case_;
  SpacedMatrix x_;
  SpacedMatrix residual_;
  SpacedMatrix out_;
  GrowingMatrix ids_, weights_;
  Matrix choices_, choice_weights_;
  Tensor gate_, up_, down_;  // of the expert that is packed
  std::unique_ptr<MoeWeight> weight_;
  std::vector<int32_t> host_ids_;
  std::vector<float> host_weights_;
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
        x_(ops->device(), c.tokens, c.hidden, 3, 1.0f, 1),
        bias_(RandomVector(ops->device(), c.config.num_experts, 0.2f, 2)),
        ids_memory_(ops->device(), DType::kI32),
        weights_memory_(ops->device()),
        ids_(ids_memory_.Resize(c.tokens, c.config.top_k)),
        weights_(weights_memory_.Resize(c.tokens, c.config.top_k)) {
    weight_ = ops->PackLinear(RandomTensor(c.dtype, {c.config.num_experts, c.hidden},
                                           3.0f / std::sqrt(static_cast<float>(c.hidden)), 3)
                                  .view());
  }
  void Run(Ops* ops, int64_t first, int64_t count) {
    const bool biased = case_.config.topk_method == TopkMethod::kNoAuxTc;
    ops->Route({.x = x_.view().Rows(first, count),
                .weight = weight_.get(),
                .correction_bias = biased ? &bias_ : nullptr,
                .config = &case_.config,
                .expert_ids = ids_.Rows(first, count),
                .expert_weights = weights_.Rows(first, count)});
  }
  std::vector<int32_t> ids() const {
    GrowingHostMatrix memory;
    const auto ids = ToHostAs<int32_t>(ids_, memory);
    return {ids.data, ids.data + ids.rows * ids.cols};
  }
  std::vector<float> weights() const {
    GrowingHostMatrix memory;
    const ConstHostMatrix weights = ToHost(ConstMatrix(weights_), memory);
    return {weights.data, weights.data + weights.rows * weights.cols};
  }

 private:
  const RouteCase case_;
  SpacedMatrix x_;
  DeviceTensor bias_;
  GrowingMatrix ids_memory_, weights_memory_;
  Matrix ids_, weights_;
  std::unique_ptr<LinearWeight> weight_;
};

}  // namespace vl2
