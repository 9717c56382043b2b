// Weight matrices as the CPU kernels read them: panels of 16 output rows, side by side ("lanes"),
// one after the other along k. One layout for every instruction set, for one row of x and for many.
//
//   bfloat16  [out/16][in/2][16 lanes][2 k]   a 32-bit lane holds two consecutive k
//   float32   [out/16][in][16 lanes]
//
// `out` is padded to whole panels and an odd `in` to a whole pair, with zeros. Integer weights:
// weight_format/superblock.h.
//
// Owns: its bytes, unless memory is given to it. Immutable once packed; may be read by several
// threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/cpu/weight_format/quantized_rows.h"
#include "runtime/ops/linear.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/tensor.h"
#include "runtime/weight_format/weight_format.h"
#include "runtime/weight_format/weight_view.h"

namespace vl2 {

inline constexpr size_t kPanelLanes = 16;

class PackedWeights {
 public:
  PackedWeights() = default;
  // rows[i] points to row i of the matrix, `in` elements of `dtype` (bfloat16 or float32, any
  // alignment), or is null for a row of zeros. REQUIRES: rows.size() is a multiple of kPanelLanes.
  // `memory`: num_bytes() of it, aligned to 64, that outlive this; null: its own.
  PackedWeights(DType dtype, int64_t in, std::span<const std::byte* const> rows, ThreadPool* pool,
                WeightFormat format = WeightFormat::kAsStored, std::byte* memory = nullptr);
  // Of panels that are packed already, in their order.
  PackedWeights(WeightFormat format, int64_t in, std::span<const std::byte* const> panels,
                ThreadPool* pool, std::byte* memory = nullptr);

  // Bytes of a panel; dtype matters for kAsStored only.
  static int64_t BytesOfPanel(WeightFormat format, DType dtype, int64_t in);

  WeightFormat format() const { return format_; }
  // Of kAsStored.
  DType dtype() const { return dtype_; }
  // 32-bit words of a row of x as a product reads it: floats, or what it is rounded to.
  int64_t x_words() const { return RowWords(format_, in_); }
  int64_t in() const { return in_; }
  int64_t num_panels() const { return num_panels_; }
  // Bytes from a panel to the next.
  int64_t panel_bytes() const { return panel_bytes_; }
  const std::byte* data() const { return data_; }
  size_t num_bytes() const { return static_cast<size_t>(num_panels_ * panel_bytes_); }

 private:
  WeightFormat format_ = WeightFormat::kAsStored;
  DType dtype_ = DType::kF32;
  int64_t in_ = 0;
  int64_t num_panels_ = 0;
  int64_t panel_bytes_ = 0;
  AlignedBuffer buffer_;  // empty: the memory is somebody else's
  std::byte* data_ = nullptr;
};

class CpuLinearWeight final : public LinearWeight {
 public:
  // `memory` as PackedWeights'.
  CpuLinearWeight(std::span<const WeightView> parts, ThreadPool* pool,
                  WeightFormat format = WeightFormat::kAsStored, std::byte* memory = nullptr);
  size_t num_bytes() const override { return panels_.num_bytes(); }
  const PackedWeights& panels() const { return panels_; }

 private:
  PackedWeights panels_;
};

// Panels of gate and up alternate: 2j is gate's, 2j+1 up's, for outputs [16j, 16j + 16).
class CpuGatedLinearWeight final : public GatedLinearWeight {
 public:
  CpuGatedLinearWeight(const WeightView& gate, const WeightView& up, ThreadPool* pool,
                       WeightFormat format = WeightFormat::kAsStored, std::byte* memory = nullptr);
  size_t num_bytes() const override { return panels_.num_bytes(); }
  const PackedWeights& panels() const { return panels_; }

 private:
  PackedWeights panels_;
};

}  // namespace vl2
