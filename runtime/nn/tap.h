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
  virtual void OnMatrix(std::string_view name, ConstHostMatrix values) = 0;
  // The experts a layer chose: [tokens, top_k] each.
  virtual void OnExperts(int64_t layer, MatrixView<const int32_t> ids, ConstHostMatrix weights) = 0;
};

// Shows a matrix to a tap, copied from its device where that must be; `tap` may be null.
inline void Show(Tap* tap, std::string_view name, ConstMatrix values) {
  if (tap == nullptr) return;
  GrowingHostMatrix memory;
  tap->OnMatrix(name, ToHost(values, memory));
}
inline void ShowExperts(Tap* tap, int64_t layer, ConstMatrix ids, ConstMatrix weights) {
  if (tap == nullptr) return;
  GrowingHostMatrix ids_memory;
  GrowingHostMatrix weights_memory;
  tap->OnExperts(layer, ToHostAs<int32_t>(ids, ids_memory), ToHost(weights, weights_memory));
}

}  // namespace vl2
