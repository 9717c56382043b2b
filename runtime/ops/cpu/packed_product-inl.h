// A product with packed weights inside a unit of work: rows in packed tiles, no epilogue.
//
// Included once per instruction set.
#if defined(RUNTIME_OPS_CPU_PACKED_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNTIME_OPS_CPU_PACKED_PRODUCT_INL_H_
#undef RUNTIME_OPS_CPU_PACKED_PRODUCT_INL_H_
#else
#define RUNTIME_OPS_CPU_PACKED_PRODUCT_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "runtime/ops/cpu/matmul_tiling.h"
#include "runtime/ops/cpu/packed_weights.h"
#include "runtime/ops/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

template <class Panels>
HWY_INLINE void MultiplyPanels(const Panels& panels, int64_t in, int64_t num_panels,
                               const float* packed, int64_t num_rows, float* out,
                               int64_t out_stride) {
  const int64_t num_tiles = NumTiles(num_rows, kMaxTileRows);
  const int64_t widest = (num_rows + num_tiles - 1) / num_tiles;
  const auto step = static_cast<int64_t>(MaxTilePanels(static_cast<size_t>(widest)));
  for (int64_t panel = 0; panel < num_panels; panel += step) {
    for (int64_t tile = 0; tile < num_tiles; ++tile) {
      const int64_t begin = TileRow(num_rows, num_tiles, tile);
      const int64_t rows = TileRow(num_rows, num_tiles, tile + 1) - begin;
      float* to = out + begin * out_stride + panel * static_cast<int64_t>(kPanelLanes);
      TileRows(rows, PackedRows{packed + begin * in}, panels.At(panel, 0), in,
               std::min(step, num_panels - panel), StoreSums{to, out_stride, true});
    }
  }
}

// out[r] = x[r] · Wᵀ, whole panels: out_stride >= num_panels · kPanelLanes. `packed` holds x as
// PackQueries packs it.
HWY_INLINE void MultiplyPacked(const PackedWeights& weights, const float* packed, int64_t num_rows,
                               float* out, int64_t out_stride) {
  const int64_t words = weights.panel_bytes() / 4;
  if (weights.dtype() == DType::kBF16) {
    MultiplyPanels(Bf16Panels{reinterpret_cast<const uint32_t*>(weights.data()), words},
                   weights.in(), weights.num_panels(), packed, num_rows, out, out_stride);
  } else {
    MultiplyPanels(F32Panels{reinterpret_cast<const float*>(weights.data()), words,
                             static_cast<int64_t>(kPanelLanes)},
                   weights.in(), weights.num_panels(), packed, num_rows, out, out_stride);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#endif  // include guard
