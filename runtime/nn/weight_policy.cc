#include "runtime/nn/weight_policy.h"

#include "runtime/base/status.h"

namespace vl2 {

std::string WeightChoice::Name(DType stored) const {
  if (policy == WeightPolicy::kInt8) return "int8";
  if (policy == WeightPolicy::kInt4) return "int4";
  return stored == DType::kBF16 ? "bf16" : "f32";
}

absl::StatusOr<WeightChoice> ParseWeights(std::string_view value) {
  if (value == "auto" || value == "bf16") return WeightChoice{};
  if (value == "f32") return WeightChoice{.type = WeightType::kF32};
  if (value == "int8") return WeightChoice{.policy = WeightPolicy::kInt8};
  if (value == "int4") return WeightChoice{.policy = WeightPolicy::kInt4};
  return InvalidArgument("--weights \"", value, "\" is not one of auto, bf16, f32, int8, int4");
}

}  // namespace vl2
