#include "vision_service/image/resample_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "vision_service/image/resample_kernels.cc"
#include "hwy/foreach_target.h"  // compiles the part below once per instruction set
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vl2::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kFractionBits = ResampleWeights::kFractionBits;
constexpr int32_t kHalf = 1 << (kFractionBits - 1);

inline uint8_t Clip(int32_t sum) {
  sum >>= kFractionBits;
  return static_cast<uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

#if HWY_TARGET == HWY_SCALAR

void RowsXDispatched(const uint8_t* in, size_t in_stride, int num_rows,
                     const ResampleWeights& weights, uint8_t* out, size_t out_stride) {
  for (int y = 0; y < num_rows; ++y, in += in_stride, out += out_stride) {
    const int32_t* weight = weights.weights.data();
    uint8_t* target = out;
    for (const ResampleWeights::Window window : weights.windows) {
      const uint8_t* pixel = in + size_t{3} * static_cast<size_t>(window.first);
      int32_t sum[3] = {kHalf, kHalf, kHalf};
      for (int t = 0; t < window.count; ++t, pixel += 3) {
        for (int c = 0; c < 3; ++c) sum[c] += pixel[c] * weight[t];
      }
      for (int c = 0; c < 3; ++c) *target++ = Clip(sum[c]);
      weight += weights.stride;
    }
  }
}

void RowYDispatched(const uint8_t* rows, size_t stride, int count, const int32_t* weights,
                    size_t num_bytes, uint8_t* out) {
  for (size_t j = 0; j < num_bytes; ++j) {
    int32_t sum = kHalf;
    for (int t = 0; t < count; ++t) sum += rows[stride * static_cast<size_t>(t) + j] * weights[t];
    out[j] = Clip(sum);
  }
}

#else

// Lanes of 32 bits; scalable vectors are used at 128 bits because the row kernel needs the number
// of 128-bit blocks at compile time.
#if HWY_HAVE_SCALABLE
using I32 = hn::CappedTag<int32_t, 4>;
#else
using I32 = hn::CappedTag<int32_t, 16>;
#endif
constexpr I32 kI32;
using VI32 = hn::Vec<I32>;

// Taps (pixels) in one vector: each 128-bit block holds the three channels of one, and a zero.
constexpr int kTapsPerVector = static_cast<int>(hn::MaxLanes(kI32) / 4);
constexpr int kTapsPerLoad = ResampleWeights::kStrideUnit;  // 4 of the 5 pixels in 16 bytes
constexpr int kVectorsPerLoad = kTapsPerLoad / kTapsPerVector;
constexpr int kBytesPerVector = kTapsPerVector * 16;

// Byte shuffles from 16 loaded bytes to the lanes of one vector; index >= 0x80 gives zero.
struct Shuffles {
  alignas(64) uint8_t pixels[kVectorsPerLoad][kBytesPerVector];  // RGBRGBRGBRGB.... -> R...G...B...
  alignas(64) uint8_t weights[kVectorsPerLoad][kBytesPerVector];  // four weights -> one, four times

  constexpr Shuffles() : pixels(), weights() {
    for (int v = 0; v < kVectorsPerLoad; ++v) {
      for (int byte = 0; byte < kBytesPerVector; ++byte) {
        const int tap = v * kTapsPerVector + byte / 16;
        const int channel = byte % 16 / 4;
        const bool used = byte % 4 == 0 && channel < 3;
        pixels[v][byte] = used ? static_cast<uint8_t>(3 * tap + channel) : 0x80;
        weights[v][byte] = static_cast<uint8_t>(4 * tap + byte % 4);
      }
    }
  }
};
constexpr Shuffles kShuffles;

// The sum of a vector's 128-bit blocks.
template <class V>
HWY_INLINE hn::Vec<hn::FixedTag<int32_t, 4> > SumBlocks(V v) {
  constexpr hn::DFromV<V> d;
  if constexpr (hn::MaxLanes(d) > 4) {
    const hn::Half<hn::DFromV<V> > half;
    return SumBlocks(hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}

template <int kRows>
HWY_INLINE void RowsX(const uint8_t* HWY_RESTRICT in, size_t in_stride,
                      const ResampleWeights& weights, uint8_t* HWY_RESTRICT out,
                      size_t out_stride) {
  const hn::Repartition<uint8_t, I32> bytes;
  const hn::FixedTag<int32_t, 4> block;
  const hn::FixedTag<uint8_t, 4> block_bytes;
  const auto half = hn::Set(block, kHalf);
  const size_t num_outputs = weights.windows.size();
  const int32_t* HWY_RESTRICT weight = weights.weights.data();

  for (size_t i = 0; i < num_outputs; ++i, weight += weights.stride) {
    const ResampleWeights::Window window = weights.windows[i];
    const uint8_t* HWY_RESTRICT pixel = in + size_t{3} * static_cast<size_t>(window.first);
    VI32 sum[kRows];
    for (int r = 0; r < kRows; ++r) sum[r] = hn::Zero(kI32);

    for (int t = 0; t < window.count; t += kTapsPerLoad, pixel += 3 * kTapsPerLoad) {
      const auto loaded_weights = hn::LoadDup128(kI32, weight + t);
      for (int v = 0; v < kVectorsPerLoad; ++v) {
        const auto tap_weights =
            hn::BitCast(kI32, hn::TableLookupBytes(hn::BitCast(bytes, loaded_weights),
                                                   hn::Load(bytes, kShuffles.weights[v])));
        const auto to_lanes = hn::Load(bytes, kShuffles.pixels[v]);
        for (int r = 0; r < kRows; ++r) {
          const auto loaded = hn::LoadDup128(bytes, pixel + in_stride * static_cast<size_t>(r));
          const auto taps = hn::BitCast(kI32, hn::TableLookupBytesOr0(loaded, to_lanes));
          sum[r] = hn::Add(sum[r], hn::Mul(taps, tap_weights));
        }
      }
    }

    for (int r = 0; r < kRows; ++r) {
      const auto rounded = hn::ShiftRight<kFractionBits>(hn::Add(SumBlocks(sum[r]), half));
      const auto clipped = hn::DemoteTo(block_bytes, rounded);
      uint8_t* HWY_RESTRICT target = out + out_stride * static_cast<size_t>(r) + 3 * i;
      if (i + 1 < num_outputs) {
        hn::StoreU(clipped, block_bytes, target);  // the fourth byte is the next pixel's
      } else {
        alignas(16) uint8_t last[4];
        hn::Store(clipped, block_bytes, last);
        for (int c = 0; c < 3; ++c) target[c] = last[c];
      }
    }
  }
}

void RowsXDispatched(const uint8_t* in, size_t in_stride, int num_rows,
                     const ResampleWeights& weights, uint8_t* out, size_t out_stride) {
  constexpr int kRows = 4;  // four sums hide the multiply's latency and share the weights
  int y = 0;
  for (; y + kRows <= num_rows; y += kRows) {
    RowsX<kRows>(in + in_stride * static_cast<size_t>(y), in_stride, weights,
                 out + out_stride * static_cast<size_t>(y), out_stride);
  }
  for (; y < num_rows; ++y) {
    RowsX<1>(in + in_stride * static_cast<size_t>(y), in_stride, weights,
             out + out_stride * static_cast<size_t>(y), out_stride);
  }
}

// kVectors vectors of 32-bit sums from byte `j` on.
template <int kVectors>
HWY_INLINE void ColumnsY(const uint8_t* HWY_RESTRICT rows, size_t stride, int count,
                         const int32_t* HWY_RESTRICT weights, uint8_t* HWY_RESTRICT out) {
  const hn::Rebind<uint8_t, I32> bytes;
  const size_t lanes = hn::Lanes(kI32);
  VI32 sum[kVectors];
  for (int v = 0; v < kVectors; ++v) sum[v] = hn::Set(kI32, kHalf);
  for (int t = 0; t < count; ++t, rows += stride) {
    const auto weight = hn::Set(kI32, weights[t]);
    for (int v = 0; v < kVectors; ++v) {
      const auto in = hn::PromoteTo(kI32, hn::LoadU(bytes, rows + lanes * static_cast<size_t>(v)));
      sum[v] = hn::Add(sum[v], hn::Mul(in, weight));
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kFractionBits>(sum[v])), bytes,
               out + lanes * static_cast<size_t>(v));
  }
}

void RowYDispatched(const uint8_t* rows, size_t stride, int count, const int32_t* weights,
                    size_t num_bytes, uint8_t* out) {
  constexpr int kVectors = 8;
  const size_t lanes = hn::Lanes(kI32);
  size_t j = 0;
  for (; j + kVectors * lanes <= num_bytes; j += kVectors * lanes) {
    ColumnsY<kVectors>(rows + j, stride, count, weights, out + j);
  }
  for (; j + lanes <= num_bytes; j += lanes) {
    ColumnsY<1>(rows + j, stride, count, weights, out + j);
  }
  for (; j < num_bytes; ++j) {
    int32_t sum = kHalf;
    for (int t = 0; t < count; ++t) sum += rows[stride * static_cast<size_t>(t) + j] * weights[t];
    out[j] = Clip(sum);
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace vl2::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {
HWY_EXPORT(RowsXDispatched);
HWY_EXPORT(RowYDispatched);

void ResampleRowsX(const uint8_t* in, size_t in_stride_bytes, int num_rows,
                   const ResampleWeights& weights, uint8_t* out, size_t out_stride_bytes) {
  HWY_DYNAMIC_DISPATCH(RowsXDispatched)
  (in, in_stride_bytes, num_rows, weights, out, out_stride_bytes);
}

void ResampleRowY(const uint8_t* rows, size_t stride_bytes, int count, const int32_t* weights,
                  size_t num_bytes, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(RowYDispatched)(rows, stride_bytes, count, weights, num_bytes, out);
}
}  // namespace vl2
#endif
