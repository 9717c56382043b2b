// WeightView: a weight matrix [out, in] somewhere in the host's memory, as stored or already packed
// as integers. Borrows its bytes.
#pragma once

#include <vector>

#include "runtime/tensor/tensor.h"
#include "runtime/weight_format/superblock.h"

namespace vl2 {

struct WeightView : TensorView {
  // Other than kAsStored: `bytes` are panels as QuantizePanel writes them, one after the other, of
  // the matrix whose shape this is; dtype is kU8.
  WeightFormat packed = WeightFormat::kAsStored;

  WeightView() = default;
  WeightView(const TensorView& view) : TensorView(view) {}  // NOLINT: implicit on purpose
  WeightView(WeightFormat format, const Shape& matrix, const std::byte* panels)
      : TensorView{DType::kU8, matrix, panels}, packed(format) {}

  // REQUIRES: packed; of panel `index`.
  const std::byte* panel(int64_t index) const {
    return bytes + index * PanelBytes(packed, shape[1]);
  }
  int64_t num_panels() const { return (shape[0] + kSuperblockLanes - 1) / kSuperblockLanes; }
};

// The panels of a matrix as stored; `format` is none of kAsStored. One thread.
std::vector<std::byte> QuantizeMatrix(WeightFormat format, const TensorView& matrix);

}  // namespace vl2
