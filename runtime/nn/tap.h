// Tap: a look at a model's inner values, for golden checks. Null in serving.
#pragma once

#include <cstdint>
#include <string_view>

#include "runtime/tensor/matrix.h"

namespace vl2 {

class Tap {
 public:
  virtual ~Tap() = default;
  // `values` is valid during the call. Names are those of the golden data: "vision.block0",
  // "hidden.layer1", …
  virtual void OnMatrix(std::string_view name, ConstMatrix values) = 0;
  // The experts a layer chose: [tokens, top_k] each.
  virtual void OnExperts(int64_t layer, const int32_t* ids, const float* weights, int64_t tokens,
                         int top_k) = 0;
};

}  // namespace vl2
