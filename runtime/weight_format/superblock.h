// The layout of integer weights, the same for every backend and in files.
//
// A panel is 16 outputs side by side ("lanes"); along k it is a chain of superblocks of 128 k, each
// a run of whole cache lines, scales first. k is padded to whole superblocks, outputs to whole
// panels, with weights of zero.
//
//   kW7A8   64 B: [16] float32 scale s;  [32][16 lanes][4 k] bytes c in 1 … 127:   w = (c − 64)·s
//   kW8A16  the same, c in 1 … 255:                                                w = (c − 128)·s
//   kW4A8   64 B: [4 blocks of 32 k][16] bytes b·8 + (z − 4);  [16][16 lanes][4] bytes: of 8 k, the
//           first four in the low halves, the others in the high ones, c in 0 … 15:
//                                                        w = (c − z)·b·S, z in 4 … 11, b in 1 … 31
//           A panel begins with 64 B more: [16] float32 S, one an output.
//
// A row of x is rounded group by group (128 k), by the formula at QuantizeGroup. The product of an
// output: f = 0; for each group, ascending: f = fma(float(Σ q·x̂)·s, x_scale, f), where q are the
// integers above (for kW4A8 (c − z)·b, and s is S), x̂ those of the row, and the sum is exact in 32
// bits. It depends on the row, the output and `in` alone (determinism contract, ARCHITECTURE.md).
// On instruction sets without fma it is a product and a sum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/tensor/dtype.h"
#include "runtime/weight_format/weight_format.h"

namespace vl2 {

inline constexpr int64_t kSuperblockK = 128;
inline constexpr int64_t kSuperblockLanes = 16;  // outputs of a panel
inline constexpr int64_t kLowBitBlockK = 32;     // of one z and b in kW4A8

constexpr int64_t NumSuperblocks(int64_t in) { return (in + kSuperblockK - 1) / kSuperblockK; }

// REQUIRES, here and below: a format other than kAsStored.
constexpr int64_t SuperblockBytes(WeightFormat format) {
  return format == WeightFormat::kW4A8 ? 64 + 16 * 64 : 64 + 32 * 64;
}
constexpr int64_t PanelHeadBytes(WeightFormat format) {
  return format == WeightFormat::kW4A8 ? 64 : 0;
}
constexpr int64_t PanelBytes(WeightFormat format, int64_t in) {
  return PanelHeadBytes(format) + NumSuperblocks(in) * SuperblockBytes(format);
}
// The largest integer of a rounded x.
constexpr int32_t LargestCode(WeightFormat format) {
  return format == WeightFormat::kW8A16 ? 32767 : 127;
}

// Rounds one group of a row: codes[i] = nearest(x[i] · (largest / a)), ties to even, where a is the
// largest |x[i]|; returns the scale a / largest. Codes from `count` on are 0. A group with a below
// 1e-30 gives 0, one that holds an infinity or no number gives codes 0 and a scale that is no
// number. REQUIRES: 0 <= count <= kSuperblockK.
float QuantizeGroup(WeightFormat format, const float* x, int64_t count,
                    std::span<int32_t, kSuperblockK> codes);

// Rounds 16 rows of weights into a panel: rows[lane] is `in` values of `dtype` (bfloat16 or
// float32, any alignment), or null for zeros. Eight and seven bits: s is the largest |w| over the
// largest code. Four bits: z, b and S that leave the least squared error among some dozens tried. A
// row that holds an infinity or no number gets a scale that is no number. The bits are the same on
// every instruction set.
void QuantizePanel(WeightFormat format, DType dtype,
                   std::span<const std::byte* const, kSuperblockLanes> rows, int64_t in,
                   std::byte* panel);

// The integers of one output, padded to whole superblocks, and each superblock's float scale.
void ReadPanelLane(WeightFormat format, const std::byte* panel, int64_t in, int64_t lane,
                   int32_t* integers, float* scales);

}  // namespace vl2
