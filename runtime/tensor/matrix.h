// Matrices: rows of equal length with a stride; all of them borrow.
//
//   Matrix, ConstMatrix          on a device, of any type: what operations take
//   HostMatrix, ConstHostMatrix  float32 in memory that the calling code may use
//   MatrixView<T>                the same for any element
//
// Matrix::Floats() is the way from the first kind to the second, for code that runs on the device
// (bodies of the CPU's operations); ToHost is the way for all others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/check.h"
#include "runtime/tensor/device.h"
#include "runtime/tensor/tensor.h"

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

using HostMatrix = MatrixView<float>;
using ConstHostMatrix = MatrixView<const float>;

// `Byte` is std::byte or const std::byte.
template <typename Byte>
struct BasicMatrix {
  template <typename T>
  using Element = std::conditional_t<std::is_const_v<Byte>, const T, T>;

  Device* device = nullptr;
  DType dtype = DType::kF32;
  Byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols

  BasicMatrix() = default;
  BasicMatrix(Device* device, DType dtype, Byte* data, int64_t rows, int64_t cols, int64_t stride)
      : device(device), dtype(dtype), data(data), rows(rows), cols(cols), stride(stride) {}
  // A writable matrix is readable.
  // clang-format off
  template <typename Other> requires(std::is_same_v<Byte, const Other>)
  BasicMatrix(const BasicMatrix<Other>& other)  // NOLINT: implicit on purpose
      : BasicMatrix(other.device, other.dtype, other.data, other.rows, other.cols, other.stride) {}
  // clang-format on

  bool empty() const { return data == nullptr; }
  Byte* row(int64_t index) const {
    return data + index * stride * static_cast<int64_t>(SizeOf(dtype));
  }
  BasicMatrix Rows(int64_t first, int64_t count) const {
    VL2_CHECK(first >= 0 && count >= 0 && first + count <= rows)
        << "rows " << first << "+" << count << " of " << rows;
    return {device, dtype, row(first), count, cols, stride};
  }
  BasicMatrix Cols(int64_t first, int64_t count) const {
    VL2_CHECK(first >= 0 && count >= 0 && first + count <= cols)
        << "cols " << first << "+" << count << " of " << cols;
    return {device, dtype, data + first * static_cast<int64_t>(SizeOf(dtype)), rows, count, stride};
  }

  // The elements themselves. REQUIRES: that type; the calling code may use the device's addresses.
  template <typename T>
  MatrixView<Element<T>> As() const {
    VL2_CHECK(dtype == DTypeOf<T>()) << Name(dtype) << " used as " << Name(DTypeOf<T>());
    VL2_CHECK(data == nullptr || device->host_access()) << "memory of " << device->name();
    return {reinterpret_cast<Element<T>*>(data), rows, cols, stride};
  }
  MatrixView<Element<float>> Floats() const { return As<float>(); }
};

using Matrix = BasicMatrix<std::byte>;
using ConstMatrix = BasicMatrix<const std::byte>;

// A matrix that owns its memory and grows to the largest size ever asked for: activations of an
// engine's steps, allocated while warming up and kept.
class GrowingMatrix {
 public:
  explicit GrowingMatrix(Device& device, DType dtype = DType::kF32)
      : device_(&device), dtype_(dtype) {}

  // The first rows * cols elements; the content of earlier views is undefined afterwards.
  Matrix Resize(int64_t rows, int64_t cols) {
    const size_t num_bytes = static_cast<size_t>(rows * cols) * SizeOf(dtype_);
    if (num_bytes > buffer_.size()) {
      buffer_ = Buffer();  // freed first: old and new together would raise the peak
      buffer_ = device_->Allocate(num_bytes);
    }
    return {device_, dtype_, buffer_.bytes(), rows, cols, cols};
  }

 private:
  Device* device_;
  DType dtype_;
  Buffer buffer_;
};

// The same for float32 in host memory: scratch of the CPU's operations.
class GrowingHostMatrix {
 public:
  HostMatrix Resize(int64_t rows, int64_t cols) {
    const auto num_bytes = static_cast<size_t>(rows * cols) * sizeof(float);
    if (num_bytes > buffer_.size()) {
      buffer_ = AlignedBuffer();
      buffer_ = AlignedBuffer(num_bytes);
    }
    return {reinterpret_cast<float*>(buffer_.data()), rows, cols};
  }

 private:
  AlignedBuffer buffer_;
};

// Host memory as operations on the host's own device take it.
inline Matrix OnHost(HostMatrix matrix) {
  return {&HostMemory(), DType::kF32, reinterpret_cast<std::byte*>(matrix.data),
          matrix.rows,   matrix.cols, matrix.stride};
}

// Values that the host may read: the matrix itself where its memory is the host's, else a copy in
// `memory`. REQUIRES: elements of four bytes.
ConstMatrix ReadableByHost(ConstMatrix matrix, GrowingHostMatrix& memory);
template <typename T>
MatrixView<const T> ToHostAs(ConstMatrix matrix, GrowingHostMatrix& memory) {
  return ReadableByHost(matrix, memory).As<T>();
}
inline ConstHostMatrix ToHost(ConstMatrix matrix, GrowingHostMatrix& memory) {
  return ToHostAs<float>(matrix, memory);
}
// What is written to the result may or may not reach the matrix.
HostMatrix ToHost(Matrix matrix, GrowingHostMatrix& memory);
// Writes values of the host into a matrix of the same shape. REQUIRES: float32.
void FromHost(ConstHostMatrix values, Matrix matrix);

}  // namespace vl2
