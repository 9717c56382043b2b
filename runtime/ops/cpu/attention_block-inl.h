// One block of keys and values for some query rows of one head: scores, softmax, values, merged
// into the running output. All attention of prompts and of the tower runs through it.
//
// A block's share is computed on its own, p = e^(s - the block's maximum), and then merged:
//   m' = max(m, m_b);  sum = sum·e^(m-m') + sum_b·e^(m_b-m');  out = out·e^(m-m') +
//   out_b·e^(m_b-m')
// so that blocks may be computed by different threads and give the same bits when merged in order.
//
// Included once per instruction set.
#if defined(RUNTIME_OPS_CPU_ATTENTION_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNTIME_OPS_CPU_ATTENTION_BLOCK_INL_H_
#undef RUNTIME_OPS_CPU_ATTENTION_BLOCK_INL_H_
#else
#define RUNTIME_OPS_CPU_ATTENTION_BLOCK_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "runtime/ops/cpu/attention_scratch.h"
#include "runtime/ops/cpu/math-inl.h"
#include "runtime/ops/cpu/matmul_tiling.h"
#include "runtime/ops/cpu/tile-inl.h"
#include "runtime/ops/host_ops.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

inline constexpr int64_t kLanes = static_cast<int64_t>(kPanelLanes);
inline constexpr float kNoMaximum = -std::numeric_limits<float>::infinity();

constexpr int64_t RoundUpToPanel(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Query rows of one head and their running result.
struct QueryRows {
  int64_t num_rows = 0;
  int64_t dim = 0;
  float scale = 0;
  const float* packed = nullptr;  // tiles of [dim][rows], see PackQueries
  float* out = nullptr;           // [num_rows][out_stride]
  int64_t out_stride = 0;         // whole panels
  float* max = nullptr;           // [num_rows]
  float* sum = nullptr;           // [num_rows]
};

struct KeyBlock {
  const float* keys = nullptr;    // [dim][kBlockTokens]
  const float* values = nullptr;  // [num_tokens][value_stride], readable to a whole panel
  int64_t value_stride = 0;
  int64_t num_tokens = 0;  // that hold something
};

// Merges a block's maxima and sums into the running ones; `count` <= kPanelLanes of each. keep and
// add: the factors of the running output and of the block's. A block that a row does not see has
// maximum kNoMaximum and sum 0.
HWY_INLINE void MergeStatistics(float* max, float* sum, const float* block_max,
                                const float* block_sum, int64_t count, float* keep, float* add) {
  const DF d;
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(kVectorLanes)) {
    const int64_t some = std::min(count - i, static_cast<int64_t>(kVectorLanes));
    const VF old_max = LoadPart(max + i, some);
    const VF new_max = LoadPart(block_max + i, some);
    const VF merged = hn::Max(old_max, new_max);
    const VF kept = Exp(d, hn::Sub(old_max, merged));
    const VF added = Exp(d, hn::Sub(new_max, merged));
    const VF old_sum = hn::Mul(LoadPart(sum + i, some), kept);
    StorePart(hn::MulAdd(LoadPart(block_sum + i, some), added, old_sum), sum + i, some);
    StorePart(merged, max + i, some);
    StorePart(kept, keep + i, some);
    StorePart(added, add + i, some);
  }
}

// The largest of the first num_visible scores, times scale.
template <bool kAll>
HWY_INLINE float ScaledMaximum(const float* scores, int64_t num_visible, float scale) {
  const DF d;
  const VF limit = hn::Set(d, static_cast<float>(num_visible));
  const VF nothing = hn::Set(d, kNoMaximum);
  VF maxima = nothing;
#pragma GCC unroll 4
  for (size_t i = 0; i < kBlockTokens; i += kVectorLanes) {
    VF score = hn::LoadU(d, scores + i);
    if (!kAll) {
      score = hn::IfThenElse(hn::Lt(hn::Iota(d, static_cast<float>(i)), limit), score, nothing);
    }
    maxima = hn::Max(maxima, score);
  }
  return hn::GetLane(hn::MaxOfLanes(d, maxima)) * scale;
}

// scores become e^(scale·s - max) for the first num_visible of them, 0 for the rest. Returns their
// sum.
template <bool kAll>
HWY_INLINE float Exponentials(float* scores, int64_t num_visible, float scale, float max) {
  const DF d;
  const VF limit = hn::Set(d, static_cast<float>(num_visible));
  const VF scales = hn::Set(d, scale);
  const VF most = hn::Set(d, max);
  VF sums = hn::Zero(d);
#pragma GCC unroll 4
  for (size_t i = 0; i < kBlockTokens; i += kVectorLanes) {
    VF p = ExpNearZero(d, hn::MulSub(hn::LoadU(d, scores + i), scales, most));
    if (!kAll) p = hn::IfThenElseZero(hn::Lt(hn::Iota(d, static_cast<float>(i)), limit), p);
    hn::StoreU(p, d, scores + i);
    sums = hn::Add(sums, p);
  }
  return hn::GetLane(hn::SumOfLanes(d, sums));
}

// scores: [rows][kScoreStride] of one tile, turned into probabilities against the block's own
// maximum. Row r sees first_visible + r·step tokens of the block.
HWY_INLINE void SoftmaxTile(float* scores, int64_t rows, int64_t num_tokens, int64_t first_visible,
                            int64_t step, float scale, float* block_max, float* block_sum) {
  if (std::min(num_tokens, first_visible) == kBlockTokens) {
    for (int64_t row = 0; row < rows; ++row) {
      block_max[row] = ScaledMaximum<true>(scores + row * kScoreStride, kBlockTokens, scale);
    }
    for (int64_t row = 0; row < rows; ++row) {
      block_sum[row] =
          Exponentials<true>(scores + row * kScoreStride, kBlockTokens, scale, block_max[row]);
    }
    return;
  }
  for (int64_t row = 0; row < rows; ++row) {
    float* row_scores = scores + row * kScoreStride;
    const int64_t visible = std::min(num_tokens, first_visible + row * step);
    if (visible > 0) {
      block_max[row] = ScaledMaximum<false>(row_scores, visible, scale);
      block_sum[row] = Exponentials<false>(row_scores, visible, scale, block_max[row]);
    } else {
      std::fill_n(row_scores, kBlockTokens, 0.0f);
      block_max[row] = kNoMaximum;
      block_sum[row] = 0.0f;
    }
  }
}

// Merges one block into all rows. Row r sees first_visible + r·step tokens of it, at most
// num_tokens; step is 1 (causal) or 0. scores: kMaxTileRows · kScoreStride floats of scratch.
HWY_INLINE void AttendBlock(const QueryRows& q, const KeyBlock& block, int64_t first_visible,
                            int64_t step, float* scores) {
  const int64_t num_tiles = NumTiles(q.num_rows, kMaxTileRows);
  const int64_t score_panels = (block.num_tokens + kLanes - 1) / kLanes;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t begin = TileRow(q.num_rows, num_tiles, tile);
    const int64_t rows = TileRow(q.num_rows, num_tiles, tile + 1) - begin;
    if (first_visible + (begin + rows - 1) * step <= 0) continue;
    TileRows(rows, PackedRows{q.packed + begin * q.dim},
             F32Panels{block.keys, kLanes, kBlockTokens}, q.dim, score_panels,
             StoreSums{scores, kScoreStride, true});
    float block_max[kPanelLanes];
    float block_sum[kPanelLanes];
    float keep[kPanelLanes];
    float add[kPanelLanes];
    SoftmaxTile(scores, rows, block.num_tokens, first_visible + begin * step, step, q.scale,
                block_max, block_sum);
    MergeStatistics(q.max + begin, q.sum + begin, block_max, block_sum, rows, keep, add);
    TileRows(rows, FixedRows<kScoreStride>{scores},
             F32Panels{block.values, kLanes, block.value_stride}, block.num_tokens,
             q.out_stride / kLanes,
             MergeSums{q.out + begin * q.out_stride, q.out_stride, keep, add});
  }
}

// Packs rows r = 0, 1, … at from + r·stride into tiles.
HWY_INLINE void PackQueries(const float* from, int64_t stride, int64_t num_rows, int64_t dim,
                            float* packed) {
  const int64_t num_tiles = NumTiles(num_rows, kMaxTileRows);
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t begin = TileRow(num_rows, num_tiles, tile);
    const int64_t rows = TileRow(num_rows, num_tiles, tile + 1) - begin;
    const float* pointers[kMaxTileRows];
    for (int64_t r = 0; r < rows; ++r) pointers[r] = from + (begin + r) * stride;
    PackRows(pointers, rows, dim, packed + begin * dim);
  }
}

HWY_INLINE void ClearRows(const QueryRows& q) {
  std::fill_n(q.out, q.num_rows * q.out_stride, 0.0f);
  std::fill_n(q.max, q.num_rows, kNoMaximum);
  std::fill_n(q.sum, q.num_rows, 0.0f);
}

// to[0, count) = from[0, count) / sum
HWY_INLINE void DivideRow(const float* from, float sum, int64_t count, float* to) {
  const DF d;
  const auto lanes = static_cast<int64_t>(kVectorLanes);
  const VF divisor = hn::Set(d, sum);
  int64_t col = 0;
  for (; col + lanes <= count; col += lanes) {
    hn::StoreU(hn::Div(hn::LoadU(d, from + col), divisor), d, to + col);
  }
  for (; col < count; ++col) to[col] = from[col] / sum;
}

// `count` values of a block from value `first` on, as they lie in a float32 cache, else in
// `widened`.
HWY_INLINE const float* ReadBlock(const PagedLayer& layer, int32_t index, int64_t first,
                                  int64_t count, float* widened) {
  const CacheBlock block(layer, index);
  if (layer.dtype == DType::kF32) return block.floats() + first;
  const hn::Rebind<uint16_t, DF> narrow;
  const hn::Rebind<uint32_t, DF> wide;
  const BFloat16* from = block.bfloats() + first;
  const auto lanes = static_cast<int64_t>(kVectorLanes);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto bits = hn::LoadU(narrow, reinterpret_cast<const uint16_t*>(from + i));
    const auto value = hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(wide, bits)));
    hn::StoreU(value, DF(), widened + i);
  }
  for (; i < count; ++i) widened[i] = ToFloat(from[i]);
  return widened;
}

// Copies rows of `width` floats to rows of `stride`, the rest zeros.
HWY_INLINE void CopyPadded(const float* from, int64_t from_stride, int64_t num_rows, int64_t width,
                           float* to, int64_t stride) {
  for (int64_t row = 0; row < num_rows; ++row) {
    std::copy_n(from + row * from_stride, width, to + row * stride);
    std::fill_n(to + row * stride + width, stride - width, 0.0f);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#endif  // include guard
