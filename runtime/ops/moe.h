// Moe: the mixture-of-experts feed-forward layer. Source: DeepseekV2MoE (modeling_deepseek.py).
//
//   E(x) = down(silu(gate(x)) ⊙ up(x))
//   out  = residual + (Σ_e w_e · E_e(x) + E_shared(x)),   e over the token's experts, ascending id
//
// The sum runs in float32 in that order, so a token's result does not depend on its neighbours.
// Expert products follow Linear and GatedLinear. An expert's weights are read once for all its
// tokens in the batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "runtime/ops/linear.h"
#include "runtime/tensor/matrix.h"
#include "runtime/tensor/tensor.h"
#include "runtime/weight_format/weight_format.h"
#include "runtime/weight_format/weight_view.h"

namespace vl2 {

// All experts of a layer, shared ones included, in the layout their backend wants. Made by
// Ops::PackExperts. Immutable.
class MoeWeight {
 public:
  struct Dims {
    int64_t num_experts = 0;
    int64_t hidden = 0;
    int64_t width = 0;
    int64_t shared_width = 0;  // of the shared experts together; 0: there are none
  };
  explicit MoeWeight(const Dims& dims) : dims_(dims) {}
  virtual ~MoeWeight() = default;
  const Dims& dims() const { return dims_; }
  virtual size_t num_bytes() const = 0;

 private:
  const Dims dims_;
};

// One expert's matrices, in the host's memory.
struct ExpertTensors {
  WeightView gate;  // [width, hidden]
  WeightView up;    // [width, hidden], the type and format of gate
  WeightView down;  // [hidden, width]
};

// Gives expert `index`; after the routed ones, index num_experts stands for the shared experts. The
// views are used before the next call.
using LoadExpert = std::function<ExpertTensors(int64_t index)>;

// Checked: shapes. Checked on the host: ids ascending in each row and below num_experts. `out` may
// be `residual`, not `x`.
struct MoeArgs {
  ConstMatrix x;               // [tokens, hidden]
  ConstMatrix expert_ids;      // [tokens, top_k] int32, as Route gives them
  ConstMatrix expert_weights;  // [tokens, top_k] float32
  const MoeWeight* weight = nullptr;
  ConstMatrix residual;  // [tokens, hidden]
  Matrix out;            // [tokens, hidden]
};

}  // namespace vl2
