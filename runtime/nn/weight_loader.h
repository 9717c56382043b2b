// WeightLoader: reads layers from a checkpoint into the backend's layout, tensor by tensor. Mapped
// pages are given back as soon as a tensor is copied, so that loading peaks at the weights plus one
// tensor. Weights are converted where the checkpoint says so (Checkpoint::KeptType); what float16
// lost by it is logged at the end.
//
// Threading: one thread. Errors: none; the checkpoint was checked when it was opened.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/nn/layers.h"
#include "runtime/ops/ops.h"
#include "runtime/weight_format/weight_policy.h"

namespace vl2 {

// Called while loading with the bytes copied so far.
using LoadProgress = std::function<void(int64_t bytes)>;

class WeightLoader {
 public:
  WeightLoader(const Checkpoint& checkpoint, Ops& ops, LoadProgress progress = {},
               WeightPolicy policy = WeightPolicy::kAsStored);
  ~WeightLoader();
  WeightLoader(const WeightLoader&) = delete;
  WeightLoader& operator=(const WeightLoader&) = delete;

  // A linear layer: `name`.weight, and `name`.bias where the checkpoint has one expected.
  LinearLayer Linear(const std::string& name, bool bias);
  // Several linear layers of the same input, joined along their outputs. Where only some have a
  // bias, the others' part is zero.
  struct Part {
    std::string name;
    bool bias = false;
  };
  LinearLayer JoinedLinear(const std::vector<Part>& parts);
  // A convolution whose stride is its size, as the product of its flattened patches.
  LinearLayer PatchLinear(const std::string& name);

  GatedMlp Mlp(const std::string& name);
  // `name`.experts.<e> for e < num_experts, and `name`.shared_experts where `shared` is set.
  std::unique_ptr<MoeWeight> Experts(const std::string& name, int64_t num_experts, bool shared);
  RmsNormLayer RmsNorm(const std::string& name, double eps);
  LayerNormLayer LayerNorm(const std::string& name, double eps);
  std::unique_ptr<LatentWeight> Latent(const std::string& name, const LatentWeight::Dims& dims);
  // Values the host keeps.
  std::vector<float> Floats(const std::string& name);
  // On the device, float32; of its own shape, or of another with as many elements.
  DeviceTensor Vector(const std::string& name);
  DeviceTensor Vector(const std::string& name, const Shape& shape);
  // On the device, in the type it is kept in.
  DeviceTensor Table(const std::string& name);
  // `name` as a linear layer's weight, which it is too where embeddings are tied; kept as `as`
  // would be.
  std::unique_ptr<LinearWeight> TableAsLinear(const std::string& name, const std::string& as);

 private:
  // The tensor's view in the type it is kept in; of a copy where the file's is misaligned or of
  // another type, valid until Done(name). A matrix may be packed already.
  WeightView View(const std::string& name);
  // All in one type: float32, which holds every other exactly, where they differ.
  std::vector<WeightView> Views(const std::vector<std::string>& names);
  Tensor Convert(const std::string& name, DType to);
  void Done(const std::string& name);
  WeightFormat FormatFor(const std::string& name) const { return FormatOf(policy_, name); }
  DeviceTensor Upload(const std::vector<float>& values, const Shape& shape);

  const Checkpoint& checkpoint_;
  Ops& ops_;
  const LoadProgress progress_;
  const WeightPolicy policy_;
  int64_t bytes_ = 0;
  std::map<std::string, Tensor> copies_;
  // Of the float16 tensors so far.
  int64_t num_half_tensors_ = 0;
  double largest_relative_error_ = 0;
  std::string least_exact_;  // the tensor that has it
  int64_t num_not_finite_ = 0;
  std::string not_finite_;  // the first tensor that holds some
};

}  // namespace vl2
