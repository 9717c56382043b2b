// Linear and GatedLinear: the dense products of the models.
//
//   Linear:       out = activation(x · Wᵀ + bias) + residual
//   GatedLinear:  out = silu(x · Gᵀ) ⊙ (x · Uᵀ)
//
// Source: torch.nn.Linear; DeepseekV2MLP (modeling_deepseek.py) for the gated form; Mlp with
// GELU(approximate="tanh") in siglip_vit.py; MlpProjector (exact GELU) in
// modeling_deepseek_vl_v2.py.
//
// Accumulation: each output is the sum over k = 0, 1, …, in-1 in that order, a fused multiply-add
// in float32 per term (ref: double). The order depends on `in` alone: not on the number of rows,
// the row's index, threads or the other outputs (determinism contract, ARCHITECTURE.md). Then bias,
// then activation, then residual, each rounded to float32. Weights in another format than as
// stored: weight_format/superblock.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/tensor/device_tensor.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

enum class Activation {
  kNone,
  kGeluTanh,  // 0.5·y·(1 + tanh(√(2/π)·(y + 0.044715·y³)))
  kGeluErf,   // 0.5·y·(1 + erf(y/√2))
};

// A weight matrix [out, in] in the layout its backend wants. Made by Ops::PackLinear. Immutable;
// may be used by several threads.
class LinearWeight {
 public:
  LinearWeight(int64_t out_features, int64_t in_features)
      : out_features_(out_features), in_features_(in_features) {}
  virtual ~LinearWeight() = default;
  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }
  virtual size_t num_bytes() const = 0;

 private:
  const int64_t out_features_;
  const int64_t in_features_;
};

// The pair of matrices G and U, both [out, in], of GatedLinear. Made by Ops::PackGatedLinear.
class GatedLinearWeight {
 public:
  GatedLinearWeight(int64_t out_features, int64_t in_features)
      : out_features_(out_features), in_features_(in_features) {}
  virtual ~GatedLinearWeight() = default;
  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }
  virtual size_t num_bytes() const = 0;

 private:
  const int64_t out_features_;
  const int64_t in_features_;
};

// Checked: x.cols == in_features, out is [x.rows, out_features], residual.cols == out.cols and
// residual.rows divides x.rows.
struct LinearArgs {
  ConstMatrix x;                         // [rows, in]
  const LinearWeight* weight = nullptr;  // [out, in]
  const DeviceTensor* bias = nullptr;    // [out] float32, or null
  Activation activation = Activation::kNone;
  // Added last. Row r of the output takes row r % residual.rows, so a table of positions can be
  // added to every tile. Empty: nothing is added. May be the same memory as `out`.
  ConstMatrix residual;
  Matrix out;  // [rows, out]
};

// Checked: x.cols == in_features, out is [x.rows, out_features]; x and out do not overlap.
struct GatedLinearArgs {
  ConstMatrix x;                              // [rows, in]
  const GatedLinearWeight* weight = nullptr;  // two of [out, in]
  Matrix out;                                 // [rows, out]
};

}  // namespace vl2
