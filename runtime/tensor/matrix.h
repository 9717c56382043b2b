// MatrixView: rows of equal length with a stride; the argument type of operations. A view borrows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/check.h"

namespace vl2 {

template <typename T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols

  MatrixView() = default;
  MatrixView(T* data, int64_t rows, int64_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, int64_t rows, int64_t cols, int64_t stride)
      : data(data), rows(rows), cols(cols), stride(stride) {}
  // A writable view is readable.
  // clang-format off
  template <typename U> requires(std::is_same_v<T, const U>)
  MatrixView(const MatrixView<U>& other)  // NOLINT: implicit on purpose
      : MatrixView(other.data, other.rows, other.cols, other.stride) {}
  // clang-format on

  T* row(int64_t index) const { return data + index * stride; }
  MatrixView Rows(int64_t first, int64_t count) const {
    VL2_CHECK(first >= 0 && count >= 0 && first + count <= rows)
        << "rows " << first << "+" << count << " of " << rows;
    return {row(first), count, cols, stride};
  }
  MatrixView Cols(int64_t first, int64_t count) const {
    VL2_CHECK(first >= 0 && count >= 0 && first + count <= cols)
        << "cols " << first << "+" << count << " of " << cols;
    return {data + first, rows, count, stride};
  }
};

using Matrix = MatrixView<float>;
using ConstMatrix = MatrixView<const float>;

// A float32 matrix that owns its memory and grows to the largest size ever asked for: activations
// of an engine's steps, allocated while warming up and kept.
class GrowingMatrix {
 public:
  // The first rows * cols floats; the content of earlier views is undefined afterwards.
  Matrix Resize(int64_t rows, int64_t cols) {
    const auto num_bytes = static_cast<size_t>(rows * cols) * sizeof(float);
    if (num_bytes > buffer_.size()) {
      buffer_ = AlignedBuffer();  // freed first: old and new together would raise the peak
      buffer_ = AlignedBuffer(num_bytes);
    }
    return {reinterpret_cast<float*>(buffer_.data()), rows, cols};
  }

 private:
  AlignedBuffer buffer_;
};

}  // namespace vl2
