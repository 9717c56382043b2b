// One unit of work of Matmul: packs its rows, multiplies tile by tile, finishes each row.
//
// Included once per instruction set.
#if defined(RUNTIME_OPS_CPU_MATMUL_UNIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNTIME_OPS_CPU_MATMUL_UNIT_INL_H_
#undef RUNTIME_OPS_CPU_MATMUL_UNIT_INL_H_
#else
#define RUNTIME_OPS_CPU_MATMUL_UNIT_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "runtime/ops/cpu/math-inl.h"
#include "runtime/ops/cpu/matmul.h"
#include "runtime/ops/cpu/matmul_tiling.h"
#include "runtime/ops/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

// [tile][word of x][rows of the tile]; a tile begins at (its first row - the unit's first row) ·
// x_words.
HWY_INLINE const float* PackedBlock(const MatmulTask& task, const MatmulUnit& unit,
                                    int64_t num_tiles, uint64_t run, MatmulScratch& scratch) {
  const int64_t words = task.weights->x_words();
  const int64_t first_row = TileRow(task.num_rows, num_tiles, unit.first_tile);
  if (task.num_rows == 1) {
    return task.x + (task.x_rows != nullptr ? task.x_rows[0] : 0) * task.x_stride;
  }
  const int64_t end_row = TileRow(task.num_rows, num_tiles, unit.first_tile + unit.num_tiles);
  float* packed = scratch.packed_x.Resize(1, (end_row - first_row) * words).data;
  if (scratch.run == run && scratch.task == unit.task && scratch.first_tile == unit.first_tile) {
    return packed;
  }
  scratch.run = run;
  scratch.task = unit.task;
  scratch.first_tile = unit.first_tile;
  for (int64_t tile = unit.first_tile; tile < unit.first_tile + unit.num_tiles; ++tile) {
    const int64_t begin = TileRow(task.num_rows, num_tiles, tile);
    const int64_t rows = TileRow(task.num_rows, num_tiles, tile + 1) - begin;
    const float* pointers[kMaxTileRows];
    for (int64_t r = 0; r < rows; ++r) {
      pointers[r] =
          task.x + (task.x_rows != nullptr ? task.x_rows[begin + r] : begin + r) * task.x_stride;
    }
    PackRows(pointers, rows, words, packed + (begin - first_row) * words);
  }
  return packed;
}

// sums[r][c] for the unit's rows and panels.
template <class Panels>
HWY_INLINE void MultiplyUnit(const MatmulTask& task, const MatmulUnit& unit, int64_t num_tiles,
                             const Panels& weights, const float* packed, float* sums) {
  const int64_t in = task.weights->in();
  const int64_t words = task.weights->x_words();
  const int64_t first_row = TileRow(task.num_rows, num_tiles, unit.first_tile);
  const int64_t stride = unit.num_panels * static_cast<int64_t>(kPanelLanes);
  const int64_t block_k = unit.num_tiles <= kFewTiles ? in : kBlockK;
  const int64_t widest = (task.num_rows + num_tiles - 1) / num_tiles;
  const auto step = static_cast<int64_t>(Panels::Beside(static_cast<size_t>(widest)));
  for (int64_t k = 0; k < in; k += block_k) {
    const int64_t num_k = std::min(block_k, in - k);
    for (int64_t panel = 0; panel < unit.num_panels; panel += step) {
      const int64_t num_panels = std::min(step, unit.num_panels - panel);
      const Panels here = weights.At(unit.first_panel + panel, k);
      const bool more_panels = panel + step < unit.num_panels;
      const Panels next = weights.At(unit.first_panel + (more_panels ? panel + step : 0),
                                     more_panels ? k : k + block_k);
      const int64_t last_tile = unit.first_tile + unit.num_tiles - 1;
      for (int64_t tile = unit.first_tile; tile < unit.first_tile + unit.num_tiles; ++tile) {
        const int64_t begin = TileRow(task.num_rows, num_tiles, tile) - first_row;
        const int64_t rows = TileRow(task.num_rows, num_tiles, tile + 1) - first_row - begin;
        TileRows(rows, PackedRows{packed + begin * words + Panels::WordOf(k) * rows},
                 unit.num_tiles > 1 && tile == last_tile ? here.ThenFetch(next) : here, num_k,
                 num_panels,
                 StoreSums{sums + begin * stride + panel * static_cast<int64_t>(kPanelLanes),
                           stride, k == 0});
      }
    }
  }
}

HWY_INLINE VF Activate(Activation activation, VF y) {
  switch (activation) {
    case Activation::kNone:
      return y;
    case Activation::kGeluTanh:
      return GeluTanh(DF(), y);
    case Activation::kGeluErf:
      return GeluErf(DF(), y);
  }
  return y;
}

// out[0, 16) = activation(sums + bias) + residual; null: left out.
HWY_INLINE void FinishLinear(const float* sums, const float* bias, Activation activation,
                             const float* residual, float* out) {
  const DF d;
#pragma GCC unroll 4
  for (size_t v = 0; v < kPanelLanes; v += kVectorLanes) {
    VF y = hn::LoadU(d, sums + v);
    if (bias != nullptr) y = hn::Add(y, hn::LoadU(d, bias + v));
    y = Activate(activation, y);
    if (residual != nullptr) y = hn::Add(y, hn::LoadU(d, residual + v));
    hn::StoreU(y, d, out + v);
  }
}

// out[0, 16) = silu(sums[0, 16)) ⊙ sums[16, 32)
HWY_INLINE void FinishGated(const float* sums, float* out) {
  const DF d;
#pragma GCC unroll 4
  for (size_t v = 0; v < kPanelLanes; v += kVectorLanes) {
    const VF gate = Silu(d, hn::LoadU(d, sums + v));
    hn::StoreU(hn::Mul(gate, hn::LoadU(d, sums + kPanelLanes + v)), d, out + v);
  }
}

// A whole row of a unit. The last panel of a matrix may be cut off: it goes through copies of 16.
HWY_INLINE void FinishRow(const MatmulTask& task, const MatmulUnit& unit, int64_t row,
                          const float* sums) {
  const auto lanes = static_cast<int64_t>(kPanelLanes);
  const int64_t panels_per_group = task.gated ? 2 : 1;
  const int64_t first_col = unit.first_panel / panels_per_group * lanes;
  const int64_t num_groups = unit.num_panels / panels_per_group;
  float* out = task.out + (task.out_rows != nullptr ? task.out_rows[row] : row) * task.out_stride;
  const float* residual =
      task.residual.data != nullptr ? task.residual.row(row % task.residual.rows) : nullptr;
  for (int64_t group = 0; group < num_groups; ++group, sums += lanes * panels_per_group) {
    const int64_t col = first_col + group * lanes;
    if (col + lanes <= task.num_out) {
      if (task.gated) {
        FinishGated(sums, out + col);
      } else {
        FinishLinear(sums, task.bias != nullptr ? task.bias + col : nullptr, task.activation,
                     residual != nullptr ? residual + col : nullptr, out + col);
      }
      continue;
    }
    const auto num_bytes = static_cast<size_t>(task.num_out - col) * sizeof(float);
    float bias_copy[kPanelLanes] = {};
    float residual_copy[kPanelLanes] = {};
    float out_copy[kPanelLanes];
    if (task.gated) {
      FinishGated(sums, out_copy);
    } else {
      if (task.bias != nullptr) std::memcpy(bias_copy, task.bias + col, num_bytes);
      if (residual != nullptr) std::memcpy(residual_copy, residual + col, num_bytes);
      FinishLinear(sums, task.bias != nullptr ? bias_copy : nullptr, task.activation,
                   residual != nullptr ? residual_copy : nullptr, out_copy);
    }
    std::memcpy(out + col, out_copy, num_bytes);
  }
}

template <class Panels>
HWY_INLINE void RunUnitWith(const Panels& weights, const MatmulTask& task, const MatmulUnit& unit,
                            uint64_t run, MatmulScratch& scratch) {
  const auto lanes = static_cast<int64_t>(kPanelLanes);
  const int64_t num_tiles = NumTiles(task.num_rows, kMaxTileRows);
  const int64_t first_row = TileRow(task.num_rows, num_tiles, unit.first_tile);
  const int64_t end_row = TileRow(task.num_rows, num_tiles, unit.first_tile + unit.num_tiles);
  const float* packed = PackedBlock(task, unit, num_tiles, run, scratch);
  float* sums = scratch.sums.Resize(end_row - first_row, unit.num_panels * lanes).data;
  MultiplyUnit(task, unit, num_tiles, weights, packed, sums);
  for (int64_t row = first_row; row < end_row; ++row) {
    FinishRow(task, unit, row, sums + (row - first_row) * unit.num_panels * lanes);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#endif  // include guard
