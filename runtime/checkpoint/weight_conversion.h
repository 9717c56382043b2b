// Weights in another element type than the file's: float16 as bfloat16 (to nearest, ties to even)
// or as float32 (exact), bfloat16 as float32 (exact).
//
// Threading: pure functions.
#pragma once

#include <cstdint>

#include "runtime/tensor/tensor.h"

namespace vl2 {

// What a conversion cost.
struct ConversionLoss {
  double largest_relative_error = 0;  // of values that are finite and not 0
  int64_t num_not_finite = 0;         // infinities and NaN, which stay what they are
};

// An aligned copy in type `to`, one of those above or the view's own.
Tensor ConvertWeights(const TensorView& view, DType to, ConversionLoss& loss);

}  // namespace vl2
