#include "runtime/checkpoint/weight_conversion.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace vl2 {
namespace {

// float16 has few enough values to look each up.
struct HalfTable {
  std::array<BFloat16, 1 << 16> rounded;
  std::array<float, 1 << 16> relative_error;  // 0 for 0 and what is not finite
};

const HalfTable& Halves() {
  static const HalfTable* const table = [] {
    auto* const all = new HalfTable;
    for (uint32_t bits = 0; bits < all->rounded.size(); ++bits) {
      const float value = ToFloat(Float16{static_cast<uint16_t>(bits)});
      all->rounded[bits] = ToBFloat16(value);
      const float error = ToFloat(all->rounded[bits]) - value;
      const bool counts = std::isfinite(value) && value != 0;
      all->relative_error[bits] = counts ? std::abs(error / value) : 0;
    }
    return all;
  }();
  return *table;
}

// A file's value, perhaps misaligned.
template <typename T>
T ValueAt(const TensorView& view, int64_t index) {
  T value;
  std::memcpy(&value, view.bytes + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

bool IsFinite(Float16 value) { return (value.bits & 0x7c00u) != 0x7c00u; }

}  // namespace

Tensor ConvertWeights(const TensorView& view, DType to, ConversionLoss& loss) {
  if (view.dtype == to) return CopyOf(view);
  const bool is_half = view.dtype == DType::kF16;
  VL2_CHECK(is_half ? to == DType::kBF16 || to == DType::kF32
                    : view.dtype == DType::kBF16 && to == DType::kF32)
      << Name(view.dtype) << " as " << Name(to);
  Tensor converted(to, view.shape);
  const int64_t count = view.shape.num_elements();
  if (!is_half) {
    float* const out = converted.data<float>();
    for (int64_t i = 0; i < count; ++i) out[i] = ToFloat(ValueAt<BFloat16>(view, i));
    return converted;
  }
  const HalfTable& halves = Halves();
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto value = ValueAt<Float16>(view, i);
    loss.num_not_finite += !IsFinite(value);
    if (to == DType::kF32) {
      converted.data<float>()[i] = ToFloat(value);
    } else {
      converted.data<BFloat16>()[i] = halves.rounded[value.bits];
      largest = std::max(largest, halves.relative_error[value.bits]);
    }
  }
  loss.largest_relative_error = std::max(loss.largest_relative_error, double{largest});
  return converted;
}

}  // namespace vl2
