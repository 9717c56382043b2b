// WeightPolicy: which tensors of a model are kept in which format. The one table; chosen by the
// flag
// --weights of both model services and the tools.
//
//   bf16   as in the checkpoint (float16 as bfloat16)
//   int8   products of the MLPs and of the tower in 7 bits with 8-bit rows, attention's
//   projections,
//          the vocabulary's and the projector in 8 bits with 16-bit rows
//   int4   the same, but the language model's MLPs and the vocabulary in 4 bits
//
// Attention's kv_b_proj, the router, embeddings, the patch embedding, positions, norms and biases
// stay as they are: they cost little, and what is lost there is lost twice. Why these formats:
// docs/quantization.md.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/tensor/dtype.h"
#include "runtime/weight_format/weight_format.h"

namespace vl2 {

// What a tensor is for.
enum class TensorKind {
  kOther,      // stays as it is
  kMlp,        // dense, shared and routed MLPs of the language model
  kAttention,  // q, k, v, kv_a, o
  kLmHead,
  kTower,  // qkv, proj, fc1, fc2
  kProjector,
};

// Of a tensor by its name in the checkpoint, "language.lm_head.weight".
TensorKind KindOf(std::string_view name);

enum class WeightPolicy { kAsStored, kInt8, kInt4 };

constexpr WeightFormat FormatOf(WeightPolicy policy, TensorKind kind) {
  if (policy == WeightPolicy::kAsStored) return WeightFormat::kAsStored;
  const bool int4 = policy == WeightPolicy::kInt4;
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

// In which type weights as stored are kept.
enum class WeightType {
  kStored,  // the file's; float16, which nothing computes with, as bfloat16
  kF32,
};

// A value of --weights.
struct WeightChoice {
  WeightType type = WeightType::kStored;
  WeightPolicy policy = WeightPolicy::kAsStored;
  bool automatic = true;  // nothing was asked for

  // What replicas tell of their weights: "int8", "int4", else `stored`'s name, "bf16" or "f32".
  std::string Name(DType stored) const;
};

// What to do with weights that are packed in the file: they stay so. INVALID_ARGUMENT, naming both,
// where `wanted` is another format; auto wants none.
absl::StatusOr<WeightChoice> Reconcile(const WeightChoice& wanted, WeightPolicy packed);

// INVALID_ARGUMENT for anything but auto, bf16, f32, int8 and int4. auto and bf16 are the
// same but for packed weights.
absl::StatusOr<WeightChoice> ParseWeights(std::string_view value);

// "int8", "int4"; "bf16" for weights as stored.
std::string_view Name(WeightPolicy policy);

}  // namespace vl2
