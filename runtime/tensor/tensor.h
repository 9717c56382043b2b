// Shape, TensorView and Tensor: dense arrays of up to four dimensions, row-major, no strides.
//
// A TensorView borrows its bytes; a Tensor owns them (64-byte aligned). Neither is synchronised.
// Wrong dtype or rank at an accessor is a bug: VL2_CHECK.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <ostream>
#include <string>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/check.h"
#include "runtime/tensor/dtype.h"

namespace vl2 {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    VL2_CHECK(dims.size() <= kMaxRank) << "rank " << dims.size();
    for (const int64_t dim : dims) Append(dim);
  }

  void Append(int64_t dim) {
    VL2_CHECK(rank_ < kMaxRank && dim >= 0) << "rank " << rank_ << " dim " << dim;
    dims_[static_cast<size_t>(rank_++)] = dim;
  }
  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[static_cast<size_t>(axis)]; }
  int64_t num_elements() const {
    int64_t count = 1;
    for (int axis = 0; axis < rank_; ++axis) count *= (*this)[axis];
    return count;
  }
  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ &&
           std::equal(a.dims_.begin(), a.dims_.begin() + a.rank_, b.dims_.begin());
  }
  // "[729, 64]"
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << "[";
    for (int axis = 0; axis < shape.rank_; ++axis) out << (axis ? ", " : "") << shape[axis];
    return out << "]";
  }

 private:
  int rank_ = 0;
  std::array<int64_t, kMaxRank> dims_{};
};

template <typename T>
constexpr DType DTypeOf() {
  if constexpr (std::is_same_v<T, float>) return DType::kF32;
  if constexpr (std::is_same_v<T, BFloat16>) return DType::kBF16;
  if constexpr (std::is_same_v<T, Float16>) return DType::kF16;
  if constexpr (std::is_same_v<T, int64_t>) return DType::kI64;
  if constexpr (std::is_same_v<T, int32_t>) return DType::kI32;
  if constexpr (std::is_same_v<T, uint8_t>) return DType::kU8;
}

struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  const std::byte* bytes = nullptr;

  size_t num_bytes() const { return static_cast<size_t>(shape.num_elements()) * SizeOf(dtype); }
  template <typename T>
  const T* data() const {
    VL2_CHECK(dtype == DTypeOf<T>()) << Name(dtype) << " read as " << Name(DTypeOf<T>());
    VL2_CHECK(reinterpret_cast<uintptr_t>(bytes) % sizeof(T) == 0) << "misaligned " << bytes;
    return reinterpret_cast<const T*>(bytes);
  }
};

// Whether the bytes may be read through data<T>(). Views into files need not be.
inline bool IsAligned(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.bytes) % SizeOf(view.dtype) == 0;
}

class Tensor {
 public:
  Tensor() = default;
  // Not initialised.
  Tensor(DType dtype, const Shape& shape)
      : dtype_(dtype),
        shape_(shape),
        buffer_(static_cast<size_t>(shape.num_elements()) * SizeOf(dtype)) {}

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  size_t num_bytes() const { return buffer_.size(); }
  std::byte* bytes() { return buffer_.data(); }
  const std::byte* bytes() const { return buffer_.data(); }
  template <typename T>
  T* data() {
    VL2_CHECK(dtype_ == DTypeOf<T>()) << Name(dtype_) << " used as " << Name(DTypeOf<T>());
    return reinterpret_cast<T*>(buffer_.data());
  }
  template <typename T>
  const T* data() const {
    return const_cast<Tensor*>(this)->data<T>();
  }
  TensorView view() const { return {dtype_, shape_, buffer_.data()}; }

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  AlignedBuffer buffer_;
};

// An aligned copy.
inline Tensor CopyOf(const TensorView& view) {
  Tensor copy(view.dtype, view.shape);
  if (view.num_bytes() > 0) std::memcpy(copy.bytes(), view.bytes, view.num_bytes());
  return copy;
}

}  // namespace vl2
