// Normalisation over each row, statistics in float32 (ref: double).
//
//   RmsNorm:    out = weight ⊙ (x · rsqrt(mean(x²) + eps))           DeepseekV2RMSNorm
//   LayerNorm:  out = (x − mean) · rsqrt(var + eps) ⊙ weight + bias   torch.nn.LayerNorm
// where var is the biased variance.
//
// The summation order depends on `cols` alone. `out` may be `x`.
#pragma once

#include "runtime/tensor/device_tensor.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

struct RmsNormArgs {
  ConstMatrix x;                         // [rows, cols]
  const DeviceTensor* weight = nullptr;  // [cols] float32
  float eps = 1e-6f;
  Matrix out;  // [rows, cols]
};

struct LayerNormArgs {
  ConstMatrix x;                         // [rows, cols]
  const DeviceTensor* weight = nullptr;  // [cols] float32
  const DeviceTensor* bias = nullptr;    // [cols] float32
  float eps = 1e-6f;
  Matrix out;  // [rows, cols]
};

}  // namespace vl2
