// WeightPolicy: which tensors of a model are kept in which format. The one table; chosen by the
// flag --weights of both model services and the tools.
//
//   bf16   as in the checkpoint (float16 as bfloat16)
//   int8   products of the MLPs and of the tower in 7 bits with 8-bit rows, attention's
//   projections,
//          the vocabulary's and the projector in 8 bits with 16-bit rows
//   int4   the same, but the language model's MLPs and the vocabulary in 4 bits
//
//   int8+vision.blocks.26+language.model.layers.0    the same, but of the parts named whatever
//   would
//          have 7 or 4 bits gets 8 with 16-bit rows: the way out where one layer of a checkpoint
//          loses too much (tools/compare_weights prints each one's error)
//
// Attention's kv_b_proj, the router, embeddings, the patch embedding, positions, norms and biases
// stay as they are: they cost little, and what is lost there is lost twice. Why these formats:
// docs/quantization.md.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

// A value. Threading: immutable.
class WeightPolicy {
 public:
  enum Base { kAsStored, kInt8, kInt4 };

  WeightPolicy(Base base = kAsStored) : base_(base) {}  // NOLINT: implicit on purpose
  // `finer`: parts of the model whose products all get 8 bits with 16-bit rows.
  // REQUIRES: sorted; base is not kAsStored.
  WeightPolicy(Base base, std::vector<std::string> finer) : base_(base), finer_(std::move(finer)) {}

  Base base() const { return base_; }
  // "vision.blocks.26", "language.model.layers.0", "language.lm_head"; sorted.
  const std::vector<std::string>& finer() const { return finer_; }
  bool operator==(const WeightPolicy&) const = default;

 private:
  Base base_;
  std::vector<std::string> finer_;
};

// How a tensor is kept, by its name in the checkpoint.
WeightFormat FormatOf(const WeightPolicy& policy, std::string_view name);

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

  // What replicas tell of their weights: the policy's name, else `stored`'s, "bf16" or "f32".
  std::string Name(DType stored) const;
};

// What to do with weights that are packed in the file: they stay so. INVALID_ARGUMENT, naming both,
// where `wanted` is another format; auto wants none.
absl::StatusOr<WeightChoice> Reconcile(const WeightChoice& wanted, const WeightPolicy& packed);

// INVALID_ARGUMENT for anything but auto, bf16, f32, int8 and int4, the last two perhaps with parts
// ("+language.lm_head"). auto and bf16 are the same but for packed weights.
absl::StatusOr<WeightChoice> ParseWeights(std::string_view value);

// As ParseWeights reads it: "int8", "int4+language.lm_head"; "bf16" for weights as stored.
std::string Name(const WeightPolicy& policy);

}  // namespace vl2
