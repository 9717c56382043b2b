#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "runtime/weight_format/superblock.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/weight_format/quantize_panel.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

// No fused multiply-adds here: the bits must not depend on the instruction set.
HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DW = hn::CappedTag<float, kSuperblockLanes>;
using VW = hn::Vec<DW>;
inline constexpr int64_t kStep = static_cast<int64_t>(hn::MaxLanes(DW()));

// One superblock of weights as floats.
struct Weights {
  alignas(64) float w[kSuperblockK][kSuperblockLanes];
};

// Weights of lanes that hold something not finite become 0, and `bad` tells them.
void LoadWeights(DType dtype, std::span<const std::byte* const, kSuperblockLanes> rows,
                 int64_t first_k, int64_t in, Weights& weights, bool* bad) {
  const int64_t count = std::min(kSuperblockK, in - first_k);
  for (int64_t lane = 0; lane < kSuperblockLanes; ++lane) {
    const std::byte* row = rows[static_cast<size_t>(lane)];
    for (int64_t k = 0; k < kSuperblockK; ++k) {
      float value = 0;
      if (row != nullptr && k < count) {
        if (dtype == DType::kF32) {
          std::memcpy(&value, row + (first_k + k) * 4, 4);
        } else {
          uint16_t half;
          std::memcpy(&half, row + (first_k + k) * 2, 2);
          const uint32_t bits = static_cast<uint32_t>(half) << 16;
          std::memcpy(&value, &bits, 4);
        }
        if (!(std::abs(value) <= FLT_MAX)) {
          bad[lane] = true;
          value = 0;
        }
      }
      weights.w[k][lane] = value;
    }
  }
}

// Nearest integer, ties to even. REQUIRES: |x| < 2^22.
HWY_INLINE VW RoundToEven(VW x) {
  const VW magic = hn::Set(DW(), 12582912.0f);
  return hn::Sub(hn::Add(x, magic), magic);
}

// 1 / x, 0 where x is 0 or so small that its inverse is none.
HWY_INLINE VW Inverse(VW numerator, VW x) {
  const DW d;
  return hn::IfThenElseZero(hn::Ge(x, hn::Set(d, 1e-30f)), hn::Div(numerator, x));
}

void QuantizeEightBits(WeightFormat format, const Weights& weights, const bool* bad,
                       std::byte* superblock) {
  const DW d;
  const float limit = format == WeightFormat::kW7A8 ? 63.0f : 127.0f;
  const float zero = format == WeightFormat::kW7A8 ? 64.0f : 128.0f;
  alignas(64) float scales[kSuperblockLanes];
  alignas(64) float codes[kSuperblockLanes];
  auto* bytes = reinterpret_cast<uint8_t*>(superblock) + 64;
  for (int64_t first = 0; first < kSuperblockLanes; first += kStep) {
    VW largest = hn::Zero(d);
    for (const auto& w : weights.w) largest = hn::Max(largest, hn::Abs(hn::Load(d, w + first)));
    const VW inverse = Inverse(hn::Set(d, limit), largest);
    hn::Store(hn::IfThenElseZero(hn::Ge(largest, hn::Set(d, 1e-30f)),
                                 hn::Div(largest, hn::Set(d, limit))),
              d, scales + first);
    for (int64_t k = 0; k < kSuperblockK; ++k) {
      hn::Store(hn::Add(RoundToEven(hn::Mul(hn::Load(d, weights.w[k] + first), inverse)),
                        hn::Set(d, zero)),
                d, codes + first);
      for (int64_t lane = first; lane < first + kStep; ++lane) {
        bytes[k / 4 * 64 + lane * 4 + k % 4] = static_cast<uint8_t>(codes[lane]);
      }
    }
  }
  for (int64_t lane = 0; lane < kSuperblockLanes; ++lane) {
    if (bad[lane]) scales[lane] = std::numeric_limits<float>::quiet_NaN();
  }
  std::memcpy(superblock, scales, 64);
}

// Zero point and scale of a block of 32 k that leave the least squared error: the zero points
// beside the one that the smallest and the largest weight ask for, and ranges that cut off the
// ends. For given codes the best scale is Σwu / Σu², and the error falls by (Σwu)² / Σu².
HWY_INLINE void FitLowBits(const float (*w)[kSuperblockLanes], int64_t first, float* best_scale,
                           float* best_zero) {
  const DW d;
  VW low = hn::Zero(d), high = hn::Zero(d);
  for (int64_t k = 0; k < kLowBitBlockK; ++k) {
    const VW value = hn::Load(d, w[k] + first);
    low = hn::Min(low, value);
    high = hn::Max(high, value);
  }
  const VW span = hn::Sub(high, low);
  const VW wanted =
      RoundToEven(hn::Mul(hn::Mul(low, hn::Set(d, -15.0f)), Inverse(hn::Set(d, 1.0f), span)));
  const VW middle = hn::Min(hn::Max(wanted, hn::Set(d, 5.0f)), hn::Set(d, 10.0f));
  VW scale = hn::Zero(d), zero = middle, best = hn::Zero(d);
  for (int step = -1; step <= 1; ++step) {
    const VW z = hn::Add(middle, hn::Set(d, static_cast<float>(step)));
    const VW top = hn::Sub(hn::Set(d, 15.0f), z);
    const VW bottom = hn::Neg(z);
    const VW whole = hn::Max(hn::Div(high, top), hn::Div(low, bottom));
    for (const float share : {1.0f, 0.95f, 0.9f, 0.85f, 0.8f, 0.72f, 0.64f}) {
      const VW inverse = Inverse(hn::Set(d, 1.0f), hn::Mul(whole, hn::Set(d, share)));
      VW wu = hn::Zero(d), uu = hn::Zero(d);
      for (int64_t k = 0; k < kLowBitBlockK; ++k) {
        const VW value = hn::Load(d, w[k] + first);
        const VW u = RoundToEven(hn::Min(hn::Max(hn::Mul(value, inverse), bottom), top));
        wu = hn::Add(wu, hn::Mul(value, u));
        uu = hn::Add(uu, hn::Mul(u, u));
      }
      const VW fitted = hn::Mul(wu, Inverse(hn::Set(d, 1.0f), uu));
      const VW gain = hn::Mul(wu, fitted);
      const auto better = hn::And(hn::Gt(gain, best), hn::Gt(fitted, hn::Zero(d)));
      best = hn::IfThenElse(better, gain, best);
      scale = hn::IfThenElse(better, fitted, scale);
      zero = hn::IfThenElse(better, z, zero);
    }
  }
  hn::Store(scale, d, best_scale + first);
  hn::Store(zero, d, best_zero + first);
}

struct LowBitBlock {
  alignas(64) float scale[kSuperblockLanes];
  alignas(64) float zero[kSuperblockLanes];
};

// The codes of one superblock, its blocks' scales rounded to multiples b of the output's.
void QuantizeLowBits(const Weights& weights, const LowBitBlock* blocks, const float* row_scales,
                     std::byte* superblock) {
  const DW d;
  auto* bytes = reinterpret_cast<uint8_t*>(superblock);
  std::memset(bytes, 0, static_cast<size_t>(SuperblockBytes(WeightFormat::kW4A8)));
  alignas(64) float factors[kSuperblockLanes];
  alignas(64) float codes[kSuperblockLanes];
  for (int64_t block = 0; block < kSuperblockK / kLowBitBlockK; ++block) {
    const LowBitBlock& fit = blocks[block];
    for (int64_t first = 0; first < kSuperblockLanes; first += kStep) {
      const VW row_scale = hn::Load(d, row_scales + first);
      const VW b = hn::Min(hn::Max(RoundToEven(hn::Mul(hn::Load(d, fit.scale + first),
                                                       Inverse(hn::Set(d, 1.0f), row_scale))),
                                   hn::Set(d, 1.0f)),
                           hn::Set(d, 31.0f));
      hn::Store(b, d, factors + first);
      const VW z = hn::Load(d, fit.zero + first);
      const VW inverse = Inverse(hn::Set(d, 1.0f), hn::Mul(b, row_scale));
      for (int64_t k = block * kLowBitBlockK; k < (block + 1) * kLowBitBlockK; ++k) {
        const VW u = hn::Mul(hn::Load(d, weights.w[k] + first), inverse);
        hn::Store(
            hn::Add(RoundToEven(hn::Min(hn::Max(u, hn::Neg(z)), hn::Sub(hn::Set(d, 15.0f), z))), z),
            d, codes + first);
        for (int64_t lane = first; lane < first + kStep; ++lane) {
          const auto code = static_cast<uint32_t>(codes[lane]);
          uint8_t& to = bytes[64 + k / 8 * 64 + lane * 4 + k % 4];
          to = static_cast<uint8_t>(to | (k % 8 < 4 ? code : code << 4));
        }
      }
    }
    for (int64_t lane = 0; lane < kSuperblockLanes; ++lane) {
      bytes[block * kSuperblockLanes + lane] = static_cast<uint8_t>(
          static_cast<uint32_t>(factors[lane]) << 3 | (static_cast<uint32_t>(fit.zero[lane]) - 4));
    }
  }
}

void QuantizePanelHere(WeightFormat format, DType dtype,
                       std::span<const std::byte* const, kSuperblockLanes> rows, int64_t in,
                       std::byte* panel) {
  Weights weights;
  bool bad[kSuperblockLanes] = {};
  const int64_t num_superblocks = NumSuperblocks(in);
  std::byte* superblocks = panel + PanelHeadBytes(format);
  if (format != WeightFormat::kW4A8) {
    for (int64_t i = 0; i < num_superblocks; ++i) {
      LoadWeights(dtype, rows, i * kSuperblockK, in, weights, bad);
      QuantizeEightBits(format, weights, bad, superblocks + i * SuperblockBytes(format));
    }
    return;
  }
  constexpr int64_t kBlocks = kSuperblockK / kLowBitBlockK;
  std::vector<LowBitBlock> blocks(static_cast<size_t>(num_superblocks * kBlocks));
  float row_scales[kSuperblockLanes] = {};
  for (int64_t i = 0; i < num_superblocks; ++i) {
    LoadWeights(dtype, rows, i * kSuperblockK, in, weights, bad);
    for (int64_t block = 0; block < kBlocks; ++block) {
      LowBitBlock& fit = blocks[static_cast<size_t>(i * kBlocks + block)];
      for (int64_t first = 0; first < kSuperblockLanes; first += kStep) {
        FitLowBits(weights.w + block * kLowBitBlockK, first, fit.scale, fit.zero);
      }
      for (int64_t lane = 0; lane < kSuperblockLanes; ++lane) {
        row_scales[lane] = std::max(row_scales[lane], fit.scale[lane] / 31.0f);
      }
    }
  }
  alignas(64) float used_scales[kSuperblockLanes];
  for (int64_t lane = 0; lane < kSuperblockLanes; ++lane) used_scales[lane] = row_scales[lane];
  for (int64_t i = 0; i < num_superblocks; ++i) {
    LoadWeights(dtype, rows, i * kSuperblockK, in, weights, bad);
    QuantizeLowBits(weights, blocks.data() + i * kBlocks, used_scales,
                    superblocks + i * SuperblockBytes(format));
  }
  for (int64_t lane = 0; lane < kSuperblockLanes; ++lane) {
    if (bad[lane]) used_scales[lane] = std::numeric_limits<float>::quiet_NaN();
  }
  std::memcpy(panel, used_scales, 64);
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(QuantizePanelHere);

void QuantizePanel(WeightFormat format, DType dtype,
                   std::span<const std::byte* const, kSuperblockLanes> rows, int64_t in,
                   std::byte* panel) {
  HWY_DYNAMIC_DISPATCH(QuantizePanelHere)(format, dtype, rows, in, panel);
}

}  // namespace vl2
#endif  // HWY_ONCE
