// The register tile with integer weights (superblock.h): sums of a group in 32-bit integers in
// registers, the float output in memory, one fused multiply-add a group.
//
// What differs between instruction sets is in two small functions, products of bytes and of 16-bit
// values summed in lanes of 32 bits, and in how a block in 4 bits is summed. All are exact, so
// every set gives the same integers.
//
// Included once per instruction set.
#if defined(RUNTIME_OPS_CPU_QUANTIZED_PANELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RUNTIME_OPS_CPU_QUANTIZED_PANELS_INL_H_
#undef RUNTIME_OPS_CPU_QUANTIZED_PANELS_INL_H_
#else
#define RUNTIME_OPS_CPU_QUANTIZED_PANELS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "runtime/ops/cpu/cpu_target.h"
#include "runtime/ops/cpu/tile-inl.h"
#include "runtime/ops/cpu/weight_format/quantized_rows.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

using DI = hn::RebindToSigned<DF>;
using VI = hn::Vec<DI>;

// ---- products; lanes of 32 bits, w and x four bytes or two 16-bit values a lane ----

#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3
#define VL2_INTEL(name, ...) VI(_mm512_##name(__VA_ARGS__))
#elif HWY_TARGET == HWY_AVX2
#define VL2_INTEL(name, ...) VI(_mm256_##name(__VA_ARGS__))
#elif HWY_TARGET == HWY_SSE4
#define VL2_INTEL(name, ...) VI(_mm_##name(__VA_ARGS__))
#endif

// Byte or 16-bit value `i` of each lane, widened.
template <int kBits, int kIndex>
HWY_INLINE VI SignedPart(VI x) {
  return hn::ShiftRight<32 - kBits>(hn::ShiftLeft<32 - kBits - kBits * kIndex>(x));
}
template <int kIndex>
HWY_INLINE VI UnsignedByte(VI w) {
  return hn::And(hn::ShiftRight<8 * kIndex>(w), hn::Set(DI(), 255));
}

// Sums of four products of bytes in one instruction: part of AVX3_DL; beside AVX2 and NEON where
// the processor has them (cpu_target.h). By the assembler, since Highway 1.0.3 does not switch the
// compiler to them; and so they add in the sum's own register.
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX2
#define VL2_ADD_IN(encoding, name) \
  asm(encoding name " %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw))
#endif

// sum + Σ of 4: unsigned bytes of w times signed bytes of x. REQUIRES: w at most 127.
template <ByteProducts kBy>
HWY_INLINE VI AddBytes(VI sum, VI w, VI x) {
#if HWY_TARGET == HWY_AVX3_DL
  VL2_ADD_IN("", "vpdpbusd");
  return sum;
#elif defined(VL2_INTEL)
#if HWY_TARGET == HWY_AVX2
  if constexpr (kBy == ByteProducts::kVex) {
    VL2_ADD_IN("%{vex%} ", "vpdpbusd");
    return sum;
  } else if constexpr (kBy == ByteProducts::kEvex) {
    VL2_ADD_IN("%{evex%} ", "vpdpbusd");
    return sum;
  }
#endif
  // Two products of at most 127 · 127 do not saturate 16 bits.
  const VI pairs = VL2_INTEL(maddubs_epi16, w.raw, x.raw);
  const VI ones = hn::Set(DI(), 0x00010001);
  return hn::Add(sum, VL2_INTEL(madd_epi16, pairs.raw, ones.raw));
#elif HWY_TARGET == HWY_NEON
  if constexpr (kBy == ByteProducts::kDot) {
    asm(".arch armv8.2-a+crypto+dotprod\n\tsdot %0.4s, %1.16b, %2.16b"
        : "+w"(sum.raw)
        : "w"(w.raw), "w"(x.raw));
    return sum;
  }
  const int8x16_t a = vreinterpretq_s8_s32(w.raw);
  const int8x16_t b = vreinterpretq_s8_s32(x.raw);
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t pairs = vpaddq_s16(low, vmull_high_s8(a, b));
  return VI(vpadalq_s16(sum.raw, pairs));
#else
  sum = hn::Add(sum, hn::Mul(UnsignedByte<0>(w), SignedPart<8, 0>(x)));
  sum = hn::Add(sum, hn::Mul(UnsignedByte<1>(w), SignedPart<8, 1>(x)));
  sum = hn::Add(sum, hn::Mul(UnsignedByte<2>(w), SignedPart<8, 2>(x)));
  return hn::Add(sum, hn::Mul(UnsignedByte<3>(w), SignedPart<8, 3>(x)));
#endif
}

// sum + Σ of 2: signed 16-bit values.
template <ByteProducts kBy>
HWY_INLINE VI AddPairs(VI sum, VI w, VI x) {
#if HWY_TARGET == HWY_AVX3_DL
  VL2_ADD_IN("", "vpdpwssd");
  return sum;
#elif defined(VL2_INTEL)
#if HWY_TARGET == HWY_AVX2
  if constexpr (kBy == ByteProducts::kVex) {
    VL2_ADD_IN("%{vex%} ", "vpdpwssd");
    return sum;
  } else if constexpr (kBy == ByteProducts::kEvex) {
    VL2_ADD_IN("%{evex%} ", "vpdpwssd");
    return sum;
  }
#endif
  return hn::Add(sum, VL2_INTEL(madd_epi16, w.raw, x.raw));
#elif HWY_TARGET == HWY_NEON
  const int16x8_t a = vreinterpretq_s16_s32(w.raw);
  const int16x8_t b = vreinterpretq_s16_s32(x.raw);
  const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
  return hn::Add(sum, VI(vpaddq_s32(low, vmull_high_s16(a, b))));
#else
  sum = hn::Add(sum, hn::Mul(SignedPart<16, 0>(w), SignedPart<16, 0>(x)));
  return hn::Add(sum, hn::Mul(SignedPart<16, 1>(w), SignedPart<16, 1>(x)));
#endif
}
#undef VL2_ADD_IN

// Sums of a block of 32 k in 4 bits; its zero point is taken off first.
template <ByteProducts kBy>
struct HalfBytes {
#if defined(VL2_INTEL) && HWY_TARGET != HWY_AVX3_DL
  // Where bytes are multiplied in pairs, sums are two of 16 bits a lane: additions may wrap, the
  // result cannot (at most 11 · 127 · 16 each; both together would not fit 16 bits).
  static constexpr bool kInPairs = kBy == ByteProducts::kOwn;
#else
  static constexpr bool kInPairs = false;
#endif
  // Of the zero point, of the factor.
  static constexpr int32_t kBothHalves = 0x00010001;
  static constexpr int32_t kFactorHalves = kInPairs ? kBothHalves : 1;

  static HWY_INLINE VI Begin(VI zero, VI negated_sums) {
#ifdef VL2_INTEL
    if constexpr (kInPairs) {
      const hn::Repartition<int16_t, DI> d16;
      return hn::BitCast(DI(), hn::Mul(hn::BitCast(d16, zero), hn::BitCast(d16, negated_sums)));
    }
#endif
    return AddPairs<kBy>(hn::Zero(DI()), zero, negated_sums);
  }
  static HWY_INLINE VI Add(VI sum, VI w, VI x) {
#ifdef VL2_INTEL
    if constexpr (kInPairs) {
      const hn::Repartition<int16_t, DI> d16;
      const VI pairs = VL2_INTEL(maddubs_epi16, w.raw, x.raw);
      return hn::BitCast(DI(), hn::Add(hn::BitCast(d16, sum), hn::BitCast(d16, pairs)));
    }
#endif
    return AddBytes<kBy>(sum, w, x);
  }
  static HWY_INLINE VI End(VI total, VI block, VI factor) {
    if constexpr (kInPairs) return AddPairs<kBy>(total, block, factor);
    return hn::Add(total, hn::Mul(block, factor));
  }
};
#undef VL2_INTEL

// ---- the tile ----

// A word of each row of x, in all lanes.
template <size_t kRows>
HWY_INLINE VI RowWord(const float* words, size_t row) {
  int32_t word;
  std::memcpy(&word, words + row, 4);
  return hn::Set(DI(), word);
}

// sums[row][v] = add(sums[row][v], load(v), word of the row); as MultiplyAdd (tile-inl.h).
template <size_t kRows, size_t kVectors, class Load, class Add>
HWY_INLINE void MultiplyWord(const float* words, const Load& load, const Add& add,
                             VI (&sums)[kRows][kVectors]) {
  if constexpr (kRows < kVectors) {
    VI values[kRows];
#pragma GCC unroll 16
    for (size_t row = 0; row < kRows; ++row) values[row] = RowWord<kRows>(words, row);
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) {
      const VI weight = load(v);
#pragma GCC unroll 16
      for (size_t row = 0; row < kRows; ++row) {
        sums[row][v] = add(sums[row][v], weight, values[row]);
      }
    }
  } else {
    VI weights[kVectors];
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) weights[v] = load(v);
#pragma GCC unroll 16
    for (size_t row = 0; row < kRows; ++row) {
      const VI value = RowWord<kRows>(words, row);
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        sums[row][v] = add(sums[row][v], weights[v], value);
      }
    }
  }
}

template <WeightFormat kFormat, ByteProducts kBy>
class QuantizedPanels {
 public:
  QuantizedPanels(const std::byte* panels, int64_t panel_bytes)
      : panel_(reinterpret_cast<const uint8_t*>(panels)),
        superblock_(panel_ + PanelHeadBytes(kFormat)),
        panel_bytes_(panel_bytes) {}

  // Panels side by side in a tile of so many rows. Few rows are done as fast as memory is read, and
  // that is read fastest in one run: one panel after the other, without any fetching ahead.
  static constexpr size_t Beside(size_t rows) { return rows <= 4 ? 1 : MaxTilePanels(rows); }
  static constexpr int64_t WordOf(int64_t k) {
    return (k + kSuperblockK - 1) / kSuperblockK * RecordWords(kFormat);
  }
  HWY_INLINE QuantizedPanels At(int64_t panel, int64_t k) const {
    QuantizedPanels at = *this;
    at.panel_ += panel * panel_bytes_;
    at.superblock_ += panel * panel_bytes_ + k / kSuperblockK * SuperblockBytes(kFormat);
    return at;
  }
  HWY_INLINE QuantizedPanels ThenFetch(const QuantizedPanels& next) const {
    QuantizedPanels here = *this;
    here.fetch_ahead_ = next.superblock_ - superblock_;
    return here;
  }

  // Adds the product of groups [0, num_k / 128) to `result`'s memory.
  template <size_t kRows, size_t kPanels>
  HWY_INLINE void Multiply(const float* x, int64_t num_k, StoreSums result) const {
    constexpr size_t kVectors = kPanels * kPanelVectors;
    const DF d;
    const uint8_t* HWY_RESTRICT superblock = superblock_;
    for (int64_t k = 0; k < num_k; k += kSuperblockK) {
      VI sums[kRows][kVectors];
      Group<kRows, kPanels>(x, superblock, sums);
      const float* scales =
          reinterpret_cast<const float*>(kFormat == WeightFormat::kW4A8 ? panel_ : superblock);
#pragma GCC unroll 16
      for (size_t v = 0; v < kVectors; ++v) {
        const VF scale =
            hn::LoadU(d, scales + v / kPanelVectors * static_cast<size_t>(panel_bytes_) / 4 +
                             v % kPanelVectors * kVectorLanes);
#pragma GCC unroll 16
        for (size_t row = 0; row < kRows; ++row) {
          const VF product = hn::Mul(hn::ConvertTo(d, sums[row][v]), scale);
          result.End(row, v, hn::MulAdd(product, hn::Set(d, x[row]), result.Begin(row, v)));
        }
      }
      result.first = false;
      x += RecordWords(kFormat) * static_cast<int64_t>(kRows);
      superblock += SuperblockBytes(kFormat);
    }
  }

 private:
  // Bytes ahead that are fetched where nothing else is asked for and panels lie side by side.
  static constexpr int64_t kNear = 256;

  // 16 words of the panels, one lane each.
  struct Line {
    const uint8_t* data;
    int64_t panel_bytes;
    HWY_INLINE VI Load(size_t v) const {
      const uint8_t* from = data + static_cast<int64_t>(v / kPanelVectors) * panel_bytes +
                            v % kPanelVectors * kVectorLanes * 4;
      return hn::LoadU(DI(), reinterpret_cast<const int32_t*>(from));
    }
  };

  template <size_t kPanels>
  HWY_INLINE void Fetch(const uint8_t* line) const {
    const int64_t ahead = kPanels > 1 && fetch_ahead_ == 0 ? kNear : fetch_ahead_;
#pragma GCC unroll 16
    for (size_t panel = 0; panel < kPanels; ++panel) {
      hwy::Prefetch(line + static_cast<int64_t>(panel) * panel_bytes_ + ahead);
    }
  }

  template <size_t kRows, size_t kPanels>
  HWY_INLINE void Group(const float* x, const uint8_t* HWY_RESTRICT superblock,
                        VI (&sums)[kRows][kPanels * kPanelVectors]) const {
    constexpr size_t kVectors = kPanels * kPanelVectors;
    constexpr auto kStep = static_cast<int64_t>(kRows);
    const DI di;
    Fetch<kPanels>(superblock);
    if constexpr (kFormat == WeightFormat::kW4A8) {
      using Block = HalfBytes<kBy>;
      const float* HWY_RESTRICT zero_sums = x + kStep;
      const float* HWY_RESTRICT words = x + 5 * kStep;
#pragma GCC unroll 16
      for (auto& row : sums) {
#pragma GCC unroll 16
        for (VI& sum : row) sum = hn::Zero(di);
      }
      for (int64_t block = 0; block < 4; ++block) {
        VI block_sums[kRows][kVectors];
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v) {
          const VI zero =
              hn::Mul(hn::Add(hn::And(Head(superblock, block, v), hn::Set(di, 7)), hn::Set(di, 4)),
                      hn::Set(di, Block::kBothHalves));
#pragma GCC unroll 16
          for (size_t row = 0; row < kRows; ++row) {
            block_sums[row][v] = Block::Begin(zero, RowWord<kRows>(zero_sums + block * kStep, row));
          }
        }
        for (int64_t line = block * 4; line < block * 4 + 4; ++line, words += 2 * kStep) {
          const Line here = {superblock + 64 + line * 64, panel_bytes_};
          Fetch<kPanels>(here.data);
          const auto add = [](VI sum, VI w, VI value) { return Block::Add(sum, w, value); };
          const VI mask = hn::Set(di, 0x0f0f0f0f);
          MultiplyWord<kRows, kVectors>(
              words, [&](size_t v) { return hn::And(here.Load(v), mask); }, add, block_sums);
          MultiplyWord<kRows, kVectors>(
              words + kStep,
              [&](size_t v) { return hn::And(hn::ShiftRight<4>(here.Load(v)), mask); }, add,
              block_sums);
        }
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v) {
          const VI factor = hn::Mul(hn::ShiftRight<3>(Head(superblock, block, v)),
                                    hn::Set(di, Block::kFactorHalves));
#pragma GCC unroll 16
          for (size_t row = 0; row < kRows; ++row) {
            sums[row][v] = Block::End(sums[row][v], block_sums[row][v], factor);
          }
        }
      }
    } else {
      const float* HWY_RESTRICT words = x + 2 * kStep;
#pragma GCC unroll 16
      for (size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
        for (size_t v = 0; v < kVectors; ++v) sums[row][v] = RowWord<kRows>(x + kStep, row);
      }
      for (int64_t line = 0; line < 32; ++line) {
        const Line here = {superblock + 64 + line * 64, panel_bytes_};
        Fetch<kPanels>(here.data);
        if constexpr (kFormat == WeightFormat::kW7A8) {
          MultiplyWord<kRows, kVectors>(
              words, [&](size_t v) { return here.Load(v); },
              [](VI sum, VI w, VI value) { return AddBytes<kBy>(sum, w, value); }, sums);
          words += kStep;
        } else {
          const VI mask = hn::Set(di, 0x00ff00ff);
          const auto add = [](VI sum, VI w, VI value) { return AddPairs<kBy>(sum, w, value); };
          MultiplyWord<kRows, kVectors>(
              words, [&](size_t v) { return hn::And(here.Load(v), mask); }, add, sums);
          MultiplyWord<kRows, kVectors>(
              words + kStep,
              [&](size_t v) { return hn::And(hn::ShiftRight<8>(here.Load(v)), mask); }, add, sums);
          words += 2 * kStep;
        }
      }
    }
  }

  // b · 8 + (z − 4) of a block's lanes.
  HWY_INLINE VI Head(const uint8_t* superblock, int64_t block, size_t v) const {
    const hn::Rebind<uint8_t, DI> d8;
    return hn::PromoteTo(
        DI(), hn::LoadU(d8, superblock + static_cast<int64_t>(v / kPanelVectors) * panel_bytes_ +
                                block * kSuperblockLanes +
                                static_cast<int64_t>(v % kPanelVectors * kVectorLanes)));
  }

  const uint8_t* panel_;
  const uint8_t* superblock_;
  int64_t panel_bytes_;
  int64_t fetch_ahead_ = 0;  // to what comes next; 0: nothing was asked for
};

template <size_t kRows, size_t kPanels, WeightFormat kFormat, ByteProducts kBy>
HWY_NOINLINE void Tile(const PackedRows x, const QuantizedPanels<kFormat, kBy> weights,
                       int64_t num_k, const StoreSums result) {
  weights.template Multiply<kRows, kPanels>(x.data, num_k, result);
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#endif  // include guard
