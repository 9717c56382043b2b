#include "runtime/weight_format/weight_policy.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr size_t kMaxParts = 64;

// "language.model.layers.N", "vision.blocks.N" or "language.lm_head".
bool IsPart(std::string_view part) {
  if (part == "language.lm_head") return true;
  for (const std::string_view prefix : {"language.model.layers.", "vision.blocks."}) {
    if (!part.starts_with(prefix)) continue;
    const std::string number(part.substr(prefix.size()));
    int index = 0;
    // One way to write each number.
    return absl::SimpleAtoi(number, &index) && index >= 0 && std::to_string(index) == number;
  }
  return false;
}

bool IsOf(std::string_view name, std::string_view part) {
  return name.size() > part.size() && name.starts_with(part) && name[part.size()] == '.';
}

WeightFormat FormatOf(WeightPolicy::Base base, TensorKind kind) {
  if (base == WeightPolicy::kAsStored) return WeightFormat::kAsStored;
  const bool int4 = base == WeightPolicy::kInt4;
  switch (kind) {
    case TensorKind::kOther:
      return WeightFormat::kAsStored;
    case TensorKind::kMlp:
      return int4 ? WeightFormat::kW4A8 : WeightFormat::kW7A8;
    case TensorKind::kAttention:
      return WeightFormat::kW8A16;
    case TensorKind::kLmHead:
      return int4 ? WeightFormat::kW4A8 : WeightFormat::kW8A16;
    case TensorKind::kTower:
      return WeightFormat::kW7A8;
    case TensorKind::kProjector:
      return WeightFormat::kW8A16;
  }
  return WeightFormat::kAsStored;
}

}  // namespace

WeightFormat FormatOf(const WeightPolicy& policy, std::string_view name) {
  const WeightFormat format = FormatOf(policy.base(), KindOf(name));
  if (format == WeightFormat::kAsStored) return format;
  const bool finer = std::ranges::any_of(
      policy.finer(), [name](const std::string& part) { return IsOf(name, part); });
  return finer ? WeightFormat::kW8A16 : format;
}

std::string WeightChoice::Name(DType stored) const {
  if (policy != WeightPolicy::kAsStored) return vl2::Name(policy);
  return stored == DType::kBF16 ? "bf16" : "f32";
}

std::string Name(const WeightPolicy& policy) {
  if (policy.base() == WeightPolicy::kAsStored) return "bf16";
  std::string name = policy.base() == WeightPolicy::kInt8 ? "int8" : "int4";
  for (const std::string& part : policy.finer()) name += "+" + part;
  return name;
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

absl::StatusOr<WeightChoice> Reconcile(const WeightChoice& wanted, const WeightPolicy& packed) {
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
  std::vector<std::string> parts = absl::StrSplit(std::string(value), '+');
  const std::string base = parts.front();
  parts.erase(parts.begin());
  if (base == "int8" || base == "int4") {
    if (parts.size() > kMaxParts) {
      return InvalidArgument("--weights names ", parts.size(), " parts, the limit is ", kMaxParts);
    }
    for (const std::string& part : parts) {
      if (IsPart(part)) continue;
      return InvalidArgument("--weights \"", value, "\": \"", part,
                             "\" is not language.model.layers.N, vision.blocks.N or "
                             "language.lm_head");
    }
    std::ranges::sort(parts);
    parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
    return WeightChoice{
        .policy = WeightPolicy(base == "int8" ? WeightPolicy::kInt8 : WeightPolicy::kInt4, parts),
        .automatic = false};
  }
  return InvalidArgument("--weights \"", value, "\" is not one of auto, bf16, f32, int8, int4");
}

}  // namespace vl2
