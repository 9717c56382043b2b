// The register tile: kRows rows of x times kPanels panels of weights, the one loop that all
// products and attention run.
//
// A panel is 16 outputs side by side ("lanes"). Lane j of row r holds one sum, and adds
// x[r][k] · w[k][j] for k = 0, 1, …, one fused multiply-add each (multiply, then add, on sets
// without it): the order of an output's terms is the same in every tile shape, and there are no
// sums across lanes. A sum that is stored and continued later (a block of k) stays exact.
//
// A kind of weight is a class here (Bf16Panels, F32Panels); a new one adds a class with an
// Accumulate of its own, or a Tile (weight_format/quantized_panels-inl.h).
//
// Included once per instruction set.
#if defined(RUNTIME_OPS_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNTIME_OPS_CPU_TILE_INL_H_
#undef RUNTIME_OPS_CPU_TILE_INL_H_
#else
#define RUNTIME_OPS_CPU_TILE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "runtime/ops/cpu/packed_weights.h"
#include "runtime/ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr size_t kPanelVectors = kPanelLanes / kVectorLanes;

// Sums kept in registers, and rows a tile at most: what the register file holds beside one vector
// of weights and one broadcast value.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
inline constexpr size_t kMaxSums = 24;
inline constexpr size_t kMaxTileRows = 12;
#elif HWY_TARGET == HWY_NEON
inline constexpr size_t kMaxSums = 24;
inline constexpr size_t kMaxTileRows = 6;
#elif HWY_TARGET == HWY_AVX2
inline constexpr size_t kMaxSums = 12;
inline constexpr size_t kMaxTileRows = 6;
#else
inline constexpr size_t kMaxSums = 12;
inline constexpr size_t kMaxTileRows = 3;
#endif

// Tokens a tile where rows are read in place: one address register each.
inline constexpr int64_t kTokenTile = kMaxTileRows < 8 ? kMaxTileRows : 8;

// Panels of a full tile with that many rows.
constexpr size_t MaxTilePanels(size_t rows) {
  const size_t panels = kMaxSums / (rows * kPanelVectors);
  return panels < 1 ? 1 : panels > 8 ? 8 : panels;
}

// ---- where x[r][k] is; kRows rows a tile ----

// [k][kRows]: rows interleaved, so that rows a power of two apart do not fight for the same cache
// sets.
struct PackedRows {
  const float* data;
  template <size_t kRows>
  HWY_INLINE float At(size_t row, int64_t k) const {
    return data[k * static_cast<int64_t>(kRows) + static_cast<int64_t>(row)];
  }
};

// [row][k], rows `stride` apart.
struct StridedRows {
  const float* data;
  int64_t stride;
  template <size_t kRows>
  HWY_INLINE float At(size_t row, int64_t k) const {
    return data[static_cast<int64_t>(row) * stride + k];
  }
};

// [row][k], rows a constant apart.
template <int64_t kStride>
struct FixedRows {
  const float* data;
  template <size_t kRows>
  HWY_INLINE float At(size_t row, int64_t k) const {
    return data[static_cast<int64_t>(row) * kStride + k];
  }
};

// [k][row], values of one k `stride` apart from the next's.
struct StridedColumns {
  const float* data;
  int64_t stride;
  template <size_t kRows>
  HWY_INLINE float At(size_t row, int64_t k) const {
    return data[k * stride + static_cast<int64_t>(row)];
  }
};

// ---- weights ----

// sum += a · b, in sum's own register. Left to itself, GCC accumulates into the register of an
// operand that is used for the last time, then copies or spills sums (measured on the tower's
// shapes with AVX2: 64% of the peak in place of 89%).
HWY_INLINE void AddProduct(VF a, VF b, VF& sum) {
#if HWY_ARCH_X86 && HWY_COMPILER_GCC && HWY_TARGET <= HWY_AVX2
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#else
  sum = hn::MulAdd(a, b, sum);
#endif
}

// One k of the tile: sums += x · load(v), v counting the vectors of the panels. What there are
// fewer of stays in registers, the rows' values or the vectors of weights.
template <size_t kRows, size_t kPanels, class X, class Load>
HWY_INLINE void MultiplyAdd(const X& x, int64_t k, const Load& load,
                            VF (&sums)[kRows][kPanels * kPanelVectors]) {
  const DF d;
  constexpr size_t kVectors = kPanels * kPanelVectors;
  if constexpr (kRows < kVectors) {
    VF values[kRows];
#pragma GCC unroll 16
    for (size_t row = 0; row < kRows; ++row) values[row] = hn::Set(d, x.template At<kRows>(row, k));
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const VF weight = load(v);
#pragma GCC unroll 16
      for (size_t row = 0; row < kRows; ++row) AddProduct(values[row], weight, sums[row][v]);
    }
  } else {
    VF weights[kVectors];
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) weights[v] = load(v);
#pragma GCC unroll 16
    for (size_t row = 0; row < kRows; ++row) {
      const VF value = hn::Set(d, x.template At<kRows>(row, k));
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) AddProduct(value, weights[v], sums[row][v]);
    }
  }
}

// Two consecutive k of one output in 32 bits, the first in the low half.
struct Bf16Panels {
  // Words ahead that are fetched where nothing else is asked for.
  static constexpr int64_t kNear = 128;

  const uint32_t* data;
  int64_t panel_stride;  // 32-bit words
  // What is fetched into the caches while a word is used lies so many words after it.
  int64_t fetch_ahead = kNear;

  // Where the values of x for `k` begin, in words of a row.
  static constexpr size_t Beside(size_t rows) { return MaxTilePanels(rows); }
  static constexpr int64_t WordOf(int64_t k) { return k; }
  HWY_INLINE Bf16Panels At(int64_t panel, int64_t k) const {
    return {data + panel * panel_stride + k / 2 * static_cast<int64_t>(kPanelLanes), panel_stride,
            fetch_ahead};
  }
  // Fetches what `next` begins with while these panels are used.
  HWY_INLINE Bf16Panels ThenFetch(const Bf16Panels& next) const {
    return {data, panel_stride, next.data - data};
  }

  template <size_t kRows, size_t kPanels, class X>
  HWY_INLINE void Accumulate(const X& x, int64_t num_k,
                             VF (&sums)[kRows][kPanels * kPanelVectors]) const {
    const uint32_t* HWY_RESTRICT pair = data;
    int64_t k = 0;
    for (; k + 2 <= num_k; k += 2, pair += kPanelLanes) {
#pragma GCC unroll 16
      for (size_t panel = 0; panel < kPanels; ++panel) {
        hwy::Prefetch(Word(pair, panel * kPanelVectors) + fetch_ahead);
      }
      MultiplyAdd<kRows, kPanels>(x, k, Low{*this, pair}, sums);
      MultiplyAdd<kRows, kPanels>(x, k + 1, High{*this, pair}, sums);
    }
    if (k < num_k) MultiplyAdd<kRows, kPanels>(x, k, Low{*this, pair}, sums);
  }

 private:
  // The first k of a pair and the second, widened to float32.
  struct Low {
    const Bf16Panels& panels;
    const uint32_t* pair;
    HWY_INLINE VF operator()(size_t v) const {
      const hn::RebindToUnsigned<DF> du;
      return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::LoadU(du, panels.Word(pair, v))));
    }
  };
  struct High {
    const Bf16Panels& panels;
    const uint32_t* pair;
    HWY_INLINE VF operator()(size_t v) const {
      const hn::RebindToUnsigned<DF> du;
      return hn::BitCast(DF(),
                         hn::And(hn::LoadU(du, panels.Word(pair, v)), hn::Set(du, 0xffff0000u)));
    }
  };

  HWY_INLINE const uint32_t* Word(const uint32_t* pair, size_t v) const {
    return pair + static_cast<int64_t>(v / kPanelVectors) * panel_stride +
           v % kPanelVectors * kVectorLanes;
  }
};

// Float32, any distance between one k and the next.
struct F32Panels {
  const float* data;
  int64_t panel_stride;
  int64_t k_stride;

  static constexpr size_t Beside(size_t rows) { return MaxTilePanels(rows); }
  static constexpr int64_t WordOf(int64_t k) { return k; }
  HWY_INLINE F32Panels At(int64_t panel, int64_t k) const {
    return {data + panel * panel_stride + k * k_stride, panel_stride, k_stride};
  }
  HWY_INLINE F32Panels ThenFetch(const F32Panels&) const { return *this; }

  template <size_t kRows, size_t kPanels, class X>
  HWY_INLINE void Accumulate(const X& x, int64_t num_k,
                             VF (&sums)[kRows][kPanels * kPanelVectors]) const {
    const float* HWY_RESTRICT from = data;
    for (int64_t k = 0; k < num_k; ++k, from += k_stride) {
      MultiplyAdd<kRows, kPanels>(x, k, Load{*this, from}, sums);
    }
  }

 private:
  struct Load {
    const F32Panels& panels;
    const float* from;
    HWY_INLINE VF operator()(size_t v) const {
      return hn::LoadU(DF(), from + static_cast<int64_t>(v / kPanelVectors) * panels.panel_stride +
                                 v % kPanelVectors * kVectorLanes);
    }
  };
};

// ---- what happens to the sums ----

// c = sums, or c += sums where a block of k continues.
struct StoreSums {
  float* data;
  int64_t stride;
  bool first;

  HWY_INLINE StoreSums AtPanel(int64_t panel) const {
    return {data + panel * static_cast<int64_t>(kPanelLanes), stride, first};
  }
  HWY_INLINE VF Begin(size_t row, size_t v) const {
    const DF d;
    return first ? hn::Zero(d) : hn::LoadU(d, At(row, v));
  }
  HWY_INLINE void End(size_t row, size_t v, VF sum) const { hn::StoreU(sum, DF(), At(row, v)); }

 private:
  HWY_INLINE float* At(size_t row, size_t v) const {
    return data + static_cast<int64_t>(row) * stride + v * kVectorLanes;
  }
};

// c = c · keep[row] + sums · add[row]: one block's share merged into the running output.
struct MergeSums {
  float* data;
  int64_t stride;
  const float* keep;
  const float* add;

  HWY_INLINE MergeSums AtPanel(int64_t panel) const {
    return {data + panel * static_cast<int64_t>(kPanelLanes), stride, keep, add};
  }
  HWY_INLINE VF Begin(size_t, size_t) const { return hn::Zero(DF()); }
  HWY_INLINE void End(size_t row, size_t v, VF sum) const {
    const DF d;
    float* at = data + static_cast<int64_t>(row) * stride + v * kVectorLanes;
    const VF kept = hn::Mul(hn::LoadU(d, at), hn::Set(d, keep[row]));
    hn::StoreU(hn::MulAdd(sum, hn::Set(d, add[row]), kept), d, at);
  }
};

// ---- the tile ----

template <size_t kRows, size_t kPanels, class X, class Weights, class Result>
HWY_NOINLINE void Tile(const X x, const Weights weights, int64_t num_k, const Result result) {
  VF sums[kRows][kPanels * kPanelVectors];
#pragma GCC unroll 16
  for (size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kPanels * kPanelVectors; ++v) sums[row][v] = result.Begin(row, v);
  }
  weights.template Accumulate<kRows, kPanels>(x, num_k, sums);
#pragma GCC unroll 16
  for (size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kPanels * kPanelVectors; ++v) result.End(row, v, sums[row][v]);
  }
}

// All panels of kRows rows, in tiles as wide as the registers allow.
template <size_t kRows, class X, class Weights, class Result>
HWY_INLINE void TilePanels(const X& x, const Weights& weights, int64_t num_k, int64_t num_panels,
                           const Result& result) {
  constexpr size_t kMost = MaxTilePanels(kRows);
  int64_t panel = 0;
  for (; panel + static_cast<int64_t>(kMost) <= num_panels; panel += kMost) {
    Tile<kRows, kMost>(x, weights.At(panel, 0), num_k, result.AtPanel(panel));
  }
  if constexpr (kMost > 4) {
    for (; panel + 4 <= num_panels; panel += 4) {
      Tile<kRows, 4>(x, weights.At(panel, 0), num_k, result.AtPanel(panel));
    }
  }
  if constexpr (kMost > 2) {
    for (; panel + 2 <= num_panels; panel += 2) {
      Tile<kRows, 2>(x, weights.At(panel, 0), num_k, result.AtPanel(panel));
    }
  }
  for (; panel < num_panels; ++panel) {
    Tile<kRows, 1>(x, weights.At(panel, 0), num_k, result.AtPanel(panel));
  }
}

// The same for a number of rows known at run time. REQUIRES: 1 <= num_rows <= kMaxTileRows.
template <size_t kRows = kMaxTileRows, class X, class Weights, class Result>
HWY_INLINE void TileRows(int64_t num_rows, const X& x, const Weights& weights, int64_t num_k,
                         int64_t num_panels, const Result& result) {
  if constexpr (kRows > 1) {
    if (num_rows < static_cast<int64_t>(kRows)) {
      return TileRows<kRows - 1>(num_rows, x, weights, num_k, num_panels, result);
    }
  }
  TilePanels<kRows>(x, weights, num_k, num_panels, result);
}

// ---- packing of x ----

// Copies `num_rows` rows, rows[r] + [0, num_k), into [k][num_rows].
HWY_INLINE void PackRows(const float* const* rows, int64_t num_rows, int64_t num_k, float* packed) {
  int64_t row = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 4> d;
  // Four rows at a time; a last group overlaps the one before it.
  while (num_rows >= 4 && row < num_rows) {
    if (row + 4 > num_rows) row = num_rows - 4;
    int64_t k = 0;
    for (; k + 4 <= num_k; k += 4) {
      const auto a = hn::LoadU(d, rows[row] + k);
      const auto b = hn::LoadU(d, rows[row + 1] + k);
      const auto c = hn::LoadU(d, rows[row + 2] + k);
      const auto e = hn::LoadU(d, rows[row + 3] + k);
      const auto ac_low = hn::InterleaveLower(d, a, c);   // a0 c0 a1 c1
      const auto ac_high = hn::InterleaveUpper(d, a, c);  // a2 c2 a3 c3
      const auto be_low = hn::InterleaveLower(d, b, e);
      const auto be_high = hn::InterleaveUpper(d, b, e);
      float* to = packed + k * num_rows + row;
      hn::StoreU(hn::InterleaveLower(d, ac_low, be_low), d, to);
      hn::StoreU(hn::InterleaveUpper(d, ac_low, be_low), d, to + num_rows);
      hn::StoreU(hn::InterleaveLower(d, ac_high, be_high), d, to + 2 * num_rows);
      hn::StoreU(hn::InterleaveUpper(d, ac_high, be_high), d, to + 3 * num_rows);
    }
    for (; k < num_k; ++k) {
      for (int64_t r = 0; r < 4; ++r) packed[k * num_rows + row + r] = rows[row + r][k];
    }
    row += 4;
  }
#endif
  for (; row < num_rows; ++row) {
    for (int64_t k = 0; k < num_k; ++k) packed[k * num_rows + row] = rows[row][k];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#endif  // include guard
