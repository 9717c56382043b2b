#include "runtime/weight_format/weight_policy.h"

#include <algorithm>
#include <initializer_list>

#include "runtime/base/status.h"

namespace vl2 {

std::string WeightChoice::Name(DType stored) const {
  if (policy != WeightPolicy::kAsStored) return std::string(vl2::Name(policy));
  return stored == DType::kBF16 ? "bf16" : "f32";
}

std::string_view Name(WeightPolicy policy) {
  switch (policy) {
    case WeightPolicy::kAsStored:
      return "bf16";
    case WeightPolicy::kInt8:
      return "int8";
    case WeightPolicy::kInt4:
      return "int4";
  }
  return "";
}

TensorKind KindOf(std::string_view name) {
  const auto ends = [name](std::initializer_list<std::string_view> suffixes) {
    return std::any_of(suffixes.begin(), suffixes.end(),
                       [name](std::string_view suffix) { return name.ends_with(suffix); });
  };
  if (name == "language.lm_head.weight") return TensorKind::kLmHead;
  if (name.starts_with("language.model.layers.")) {
    if (ends({".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"})) {
      return TensorKind::kMlp;
    }
    if (ends({".q_proj.weight", ".k_proj.weight", ".v_proj.weight", ".q_a_proj.weight",
              ".q_b_proj.weight", ".kv_a_proj_with_mqa.weight", ".o_proj.weight"})) {
      return TensorKind::kAttention;
    }
    return TensorKind::kOther;
  }
  if (name.starts_with("vision.blocks.") &&
      ends({".attn.qkv.weight", ".attn.proj.weight", ".mlp.fc1.weight", ".mlp.fc2.weight"})) {
    return TensorKind::kTower;
  }
  if (name.starts_with("projector.layers.") && ends({".weight"})) return TensorKind::kProjector;
  return TensorKind::kOther;
}

absl::StatusOr<WeightChoice> Reconcile(const WeightChoice& wanted, WeightPolicy packed) {
  if (packed == WeightPolicy::kAsStored) return wanted;
  if (!wanted.automatic && wanted.policy != packed) {
    return InvalidArgument("the checkpoint's weights are ", Name(packed), ", --weights is ",
                           wanted.Name(DType::kBF16));
  }
  return WeightChoice{.policy = packed};
}

absl::StatusOr<WeightChoice> ParseWeights(std::string_view value) {
  if (value == "auto") return WeightChoice{};
  if (value == "bf16") return WeightChoice{.automatic = false};
  if (value == "f32") return WeightChoice{.type = WeightType::kF32, .automatic = false};
  if (value == "int8") return WeightChoice{.policy = WeightPolicy::kInt8, .automatic = false};
  if (value == "int4") return WeightChoice{.policy = WeightPolicy::kInt4, .automatic = false};
  return InvalidArgument("--weights \"", value, "\" is not one of auto, bf16, f32, int8, int4");
}

}  // namespace vl2
