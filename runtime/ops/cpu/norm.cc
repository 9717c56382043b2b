#include <cmath>

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/norm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

inline constexpr int64_t kLanes = static_cast<int64_t>(kVectorLanes);

// Σ (x − center)² or Σ x, in four vectors of sums that are added at the end.
template <bool kSquares>
HWY_INLINE float Sum(const float* x, int64_t cols, float center) {
  const DF d;
  const VF c = hn::Set(d, center);
  VF sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  int64_t col = 0;
  for (; col + 4 * kLanes <= cols; col += 4 * kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const VF value = hn::Sub(hn::LoadU(d, x + col + i * kLanes), c);
      sums[i] = kSquares ? hn::MulAdd(value, value, sums[i]) : hn::Add(value, sums[i]);
    }
  }
  for (; col + kLanes <= cols; col += kLanes) {
    const VF value = hn::Sub(hn::LoadU(d, x + col), c);
    sums[0] = kSquares ? hn::MulAdd(value, value, sums[0]) : hn::Add(value, sums[0]);
  }
  float total =
      hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
  for (; col < cols; ++col) {
    const float value = x[col] - center;
    total += kSquares ? value * value : value;
  }
  return total;
}

void RmsNormRows(const RmsNormArgs& args, int64_t first, int64_t last) {
  const DF d;
  const ConstHostMatrix all_x = args.x.Floats();
  const HostMatrix all_out = args.out.Floats();
  const float* weight = args.weight->Floats();
  const int64_t cols = all_x.cols;
  for (int64_t row = first; row < last; ++row) {
    const float* x = all_x.row(row);
    float* out = all_out.row(row);
    const float mean = Sum<true>(x, cols, 0.0f) / static_cast<float>(cols);
    const float scale = 1.0f / std::sqrt(mean + args.eps);
    const VF scales = hn::Set(d, scale);
    int64_t col = 0;
    for (; col + kLanes <= cols; col += kLanes) {
      const VF value = hn::Mul(hn::LoadU(d, x + col), scales);
      hn::StoreU(hn::Mul(value, hn::LoadU(d, weight + col)), d, out + col);
    }
    for (; col < cols; ++col) out[col] = x[col] * scale * weight[col];
  }
}

void LayerNormRows(const LayerNormArgs& args, int64_t first, int64_t last) {
  const DF d;
  const ConstHostMatrix all_x = args.x.Floats();
  const HostMatrix all_out = args.out.Floats();
  const float* weight = args.weight->Floats();
  const float* bias = args.bias->Floats();
  const int64_t cols = all_x.cols;
  for (int64_t row = first; row < last; ++row) {
    const float* x = all_x.row(row);
    float* out = all_out.row(row);
    const float mean = Sum<false>(x, cols, 0.0f) / static_cast<float>(cols);
    const float variance = Sum<true>(x, cols, mean) / static_cast<float>(cols);
    const float scale = 1.0f / std::sqrt(variance + args.eps);
    const VF means = hn::Set(d, mean);
    const VF scales = hn::Set(d, scale);
    int64_t col = 0;
    for (; col + kLanes <= cols; col += kLanes) {
      const VF value = hn::Mul(hn::Sub(hn::LoadU(d, x + col), means), scales);
      const VF weighted = hn::Mul(value, hn::LoadU(d, weight + col));
      hn::StoreU(hn::Add(weighted, hn::LoadU(d, bias + col)), d, out + col);
    }
    for (; col < cols; ++col) {
      out[col] = (x[col] - mean) * scale * weight[col] + bias[col];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(RmsNormRows);
HWY_EXPORT(LayerNormRows);

void CpuOps::DoRmsNorm(const RmsNormArgs& args) {
  const auto run = HWY_DYNAMIC_DISPATCH(RmsNormRows);
  ForRowBlocks(pool_, args.x.rows, args.x.cols,
               [&](int64_t first, int64_t last) { run(args, first, last); });
}

void CpuOps::DoLayerNorm(const LayerNormArgs& args) {
  const auto run = HWY_DYNAMIC_DISPATCH(LayerNormRows);
  ForRowBlocks(pool_, args.x.rows, args.x.cols,
               [&](int64_t first, int64_t last) { run(args, first, last); });
}

}  // namespace vl2
#endif  // HWY_ONCE
