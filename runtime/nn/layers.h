// Layers: weights together with the operation that uses them. Immutable after loading; Forward may
// be called by the thread that owns the Ops object.
#pragma once

#include <memory>

#include "runtime/ops/ops.h"

namespace vl2 {

// y = activation(x · Wᵀ + b) + residual. `weight` may hold several matrices joined along `out`.
struct LinearLayer {
  std::unique_ptr<LinearWeight> weight;
  DeviceTensor bias;  // [out]; empty: none

  void Forward(Ops& ops,
               ConstMatrix x,  // [rows, in]
               Matrix out,     // [rows, out]
               Activation activation = Activation::kNone, ConstMatrix residual = {}) const {
    ops.Linear({.x = x,
                .weight = weight.get(),
                .bias = OrNull(bias),
                .activation = activation,
                .residual = residual,
                .out = out});
  }
};

struct RmsNormLayer {
  DeviceTensor weight;  // [cols]
  float eps = 1e-6f;

  void Forward(Ops& ops, ConstMatrix x, Matrix out) const {
    ops.RmsNorm({.x = x, .weight = &weight, .eps = eps, .out = out});
  }
};

struct LayerNormLayer {
  DeviceTensor weight;  // [cols]
  DeviceTensor bias;    // [cols]
  float eps = 1e-6f;

  void Forward(Ops& ops, ConstMatrix x, Matrix out) const {
    ops.LayerNorm({.x = x, .weight = &weight, .bias = &bias, .eps = eps, .out = out});
  }
};

// down(silu(gate(x)) ⊙ up(x)), DeepseekV2MLP. Empty when gate_up is null.
struct GatedMlp {
  std::unique_ptr<GatedLinearWeight> gate_up;  // two of [width, hidden]
  std::unique_ptr<LinearWeight> down;          // [hidden, width]

  int64_t width() const { return gate_up->out_features(); }
  void Forward(Ops& ops,
               ConstMatrix x,         // [rows, hidden]
               Matrix inner,          // [rows, width], scratch
               ConstMatrix residual,  // [rows, hidden]
               Matrix out             // [rows, hidden], may be residual
  ) const {
    ops.GatedLinear({.x = x, .weight = gate_up.get(), .out = inner});
    ops.Linear({.x = inner, .weight = down.get(), .residual = residual, .out = out});
  }
};

}  // namespace vl2
