// Reproducible inputs for tests and benchmarks: the same seed gives the same values everywhere.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/tensor/device_tensor.h"
#include "runtime/tensor/matrix.h"
#include "runtime/tensor/tensor.h"

namespace vl2 {

// Independent numbers from a counter (splitmix64).
class RandomSource {
 public:
  explicit RandomSource(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In [-scale, scale).
  float Uniform(float scale) {
    return (static_cast<float>(Next() >> 40) * 0x1p-23f - 1.0f) * scale;
  }
  // In [0, bound).
  int64_t Below(int64_t bound) {
    return static_cast<int64_t>(Next() % static_cast<uint64_t>(bound));
  }

 private:
  uint64_t state_;
};

// Values in [-scale, scale).
inline std::vector<float> RandomFloats(int64_t count, float scale, uint64_t seed) {
  RandomSource random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = random.Uniform(scale);
  return values;
}

// bfloat16 or float32.
inline Tensor RandomTensor(DType dtype, const Shape& shape, float scale, uint64_t seed) {
  RandomSource random(seed);
  Tensor tensor(dtype, shape);
  const int64_t count = shape.num_elements();
  for (int64_t i = 0; i < count; ++i) {
    const float value = random.Uniform(scale);
    if (dtype == DType::kBF16) {
      tensor.data<BFloat16>()[i] = ToBFloat16(value);
    } else {
      tensor.data<float>()[i] = value;
    }
  }
  return tensor;
}

inline DeviceTensor RandomVector(Device& device, int64_t count, float scale, uint64_t seed) {
  return DeviceTensor(device, RandomTensor(DType::kF32, {count}, scale, seed).view());
}

// A matrix on a device whose rows do not touch: `gap` unused floats after each. Owns its memory.
class SpacedMatrix {
 public:
  SpacedMatrix(Device& device, int64_t rows, int64_t cols, int64_t gap)
      : buffer_(device.Allocate(static_cast<size_t>(rows * (cols + gap)) * sizeof(float))),
        view_(&device, DType::kF32, buffer_.bytes(), rows, cols, cols + gap) {
    Edit([&](HostMatrix all) { std::fill_n(all.data, rows * all.stride, kUnused); });
  }
  SpacedMatrix(Device& device, int64_t rows, int64_t cols, int64_t gap, float scale, uint64_t seed)
      : SpacedMatrix(device, rows, cols, gap) {
    Edit([&](HostMatrix matrix) {
      RandomSource random(seed);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) matrix.row(r)[c] = random.Uniform(scale);
      }
    });
  }
  // In the host's memory.
  SpacedMatrix(int64_t rows, int64_t cols, int64_t gap)
      : SpacedMatrix(HostMemory(), rows, cols, gap) {}
  SpacedMatrix(int64_t rows, int64_t cols, int64_t gap, float scale, uint64_t seed)
      : SpacedMatrix(HostMemory(), rows, cols, gap, scale, seed) {}
  SpacedMatrix(SpacedMatrix&&) = default;
  SpacedMatrix(const SpacedMatrix&) = delete;

  Matrix view() const { return view_; }
  // Everything, gaps included: a copy, which the next call overwrites.
  std::span<const float> all() const {
    values_.resize(buffer_.size() / sizeof(float));
    if (!values_.empty()) {
      view_.device->CopyToHost(reinterpret_cast<std::byte*>(values_.data()), buffer_.bytes(),
                               buffer_.size());
    }
    return values_;
  }
  // Calls edit(HostMatrix) with the values, and takes them back.
  template <typename Function>
  void Edit(const Function& edit) {
    if (all().empty()) return;
    edit(HostMatrix(values_.data(), view_.rows, view_.cols, view_.stride));
    view_.device->CopyFromHost(buffer_.bytes(), reinterpret_cast<const std::byte*>(values_.data()),
                               buffer_.size());
    values_ = {};
  }

  static constexpr float kUnused = -12345.0f;

 private:
  Buffer buffer_;
  Matrix view_;
  mutable std::vector<float> values_;
};

}  // namespace vl2
