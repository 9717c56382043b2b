// WeightFormat: how the weights of a product are kept. Chosen when they are packed (ops.h).
//
//   kAsStored  bfloat16 or float32, as in the checkpoint; x is float32
//   kW7A8      7-bit weights, one scale per 128 k; x is rounded to 8 bits per row and 128 k
//   kW8A16     8-bit weights, one scale per 128 k; x is rounded to 16 bits per row and 128 k
//   kW4A8      4-bit weights with a zero point and a scale per 32 k; x as in kW7A8
//
// What the bits mean is in superblock.h. Products in the last three are sums of integers inside 128
// k, so they are exact there on every machine.
#pragma once

#include <string_view>

namespace vl2 {

enum class WeightFormat { kAsStored, kW7A8, kW8A16, kW4A8 };

constexpr std::string_view Name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kAsStored:
      return "as stored";
    case WeightFormat::kW7A8:
      return "w7a8";
    case WeightFormat::kW8A16:
      return "w8a16";
    case WeightFormat::kW4A8:
      return "w4a8";
  }
  return "";
}

}  // namespace vl2
