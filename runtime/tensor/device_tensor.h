// DeviceTensor: a dense array that lives on a device: biases, norm weights, tables. Made by
// Ops::Upload. Move-only; immutable.
#pragma once

#include <utility>

#include "runtime/base/check.h"
#include "runtime/tensor/device.h"
#include "runtime/tensor/matrix.h"
#include "runtime/tensor/tensor.h"

namespace vl2 {

class DeviceTensor {
 public:
  DeviceTensor() = default;
  // A copy. The view's bytes may have any alignment.
  DeviceTensor(Device& device, const TensorView& values)
      : dtype_(values.dtype), shape_(values.shape), buffer_(device.Allocate(values.num_bytes())) {
    if (values.num_bytes() > 0) {
      device.CopyFromHost(buffer_.bytes(), values.bytes, values.num_bytes());
    }
  }

  bool empty() const { return buffer_.size() == 0; }
  Device* device() const { return buffer_.device(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  size_t num_bytes() const { return buffer_.size(); }

  // A tensor of rank 2 as rows; of rank 1 as one row.
  ConstMatrix matrix() const {
    VL2_CHECK(shape_.rank() == 1 || shape_.rank() == 2) << shape_;
    const int64_t cols = shape_[shape_.rank() - 1];
    return {device(), dtype_, buffer_.bytes(), shape_.rank() == 1 ? 1 : shape_[0], cols, cols};
  }
  // For bodies of the CPU's operations, see Matrix::As.
  const float* Floats() const {
    VL2_CHECK(dtype_ == DType::kF32) << Name(dtype_);
    VL2_CHECK(empty() || device()->host_access()) << "memory of " << device()->name();
    return reinterpret_cast<const float*>(buffer_.bytes());
  }

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  Buffer buffer_;
};

// What a bias or correction of an operation is when it may be left out.
inline const DeviceTensor* OrNull(const DeviceTensor& tensor) {
  return tensor.empty() ? nullptr : &tensor;
}

}  // namespace vl2
