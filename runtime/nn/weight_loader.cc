#include "runtime/nn/weight_loader.h"

#include <cstring>
#include <utility>

namespace vl2 {

WeightLoader::WeightLoader(const Checkpoint& checkpoint, Ops& ops, LoadProgress progress)
    : checkpoint_(checkpoint), ops_(ops), progress_(std::move(progress)) {}

TensorView WeightLoader::View(const std::string& name) {
  const TensorView view = checkpoint_.View(name);
  if (IsAligned(view)) return view;
  return (aligned_copies_[name] = CopyOf(view)).view();
}

void WeightLoader::Done(const std::string& name) {
  aligned_copies_.erase(name);
  bytes_ += static_cast<int64_t>(checkpoint_.View(name).num_bytes());
  checkpoint_.Release(name);
  if (progress_) progress_(bytes_);
}

LinearLayer WeightLoader::Linear(const std::string& name, bool bias) {
  return JoinedLinear({{name, bias}});
}

LinearLayer WeightLoader::JoinedLinear(const std::vector<Part>& parts) {
  LinearLayer layer;
  std::vector<TensorView> views;
  bool any_bias = false;
  for (const Part& part : parts) {
    views.push_back(View(part.name + ".weight"));
    any_bias |= part.bias;
  }
  // Parts of different types are joined as float32, which holds both exactly.
  std::vector<Tensor> widened;
  for (TensorView& view : views) {
    if (view.dtype == views[0].dtype) continue;
    for (size_t i = 0; i < views.size(); ++i) {
      Tensor copy(DType::kF32, views[i].shape);
      const std::vector<float> floats = checkpoint_.Floats(parts[i].name + ".weight");
      std::memcpy(copy.data<float>(), floats.data(), floats.size() * sizeof(float));
      widened.push_back(std::move(copy));
    }
    for (size_t i = 0; i < views.size(); ++i) views[i] = widened[i].view();
    break;
  }
  layer.weight = ops_.PackLinear(views);
  for (size_t i = 0; i < parts.size(); ++i) {
    Done(parts[i].name + ".weight");
    if (!any_bias) continue;
    std::vector<float> bias(static_cast<size_t>(views[i].shape[0]), 0.0f);
    if (parts[i].bias) bias = Floats(parts[i].name + ".bias");
    layer.bias.insert(layer.bias.end(), bias.begin(), bias.end());
  }
  return layer;
}

LinearLayer WeightLoader::PatchLinear(const std::string& name) {
  LinearLayer layer;
  TensorView view = View(name + ".weight");
  const int64_t out = view.shape[0];
  view.shape = Shape({out, view.shape.num_elements() / out});
  layer.weight = ops_.PackLinear(view);
  Done(name + ".weight");
  layer.bias = Floats(name + ".bias");
  return layer;
}

GatedMlp WeightLoader::Mlp(const std::string& name) {
  GatedMlp mlp;
  const std::string gate = name + ".gate_proj.weight";
  const std::string up = name + ".up_proj.weight";
  mlp.gate_up = ops_.PackGatedLinear(View(gate), View(up));
  Done(gate);
  Done(up);
  mlp.down = Linear(name + ".down_proj", false).weight;
  return mlp;
}

RmsNormLayer WeightLoader::RmsNorm(const std::string& name, double eps) {
  return {.weight = Floats(name + ".weight"), .eps = static_cast<float>(eps)};
}

LayerNormLayer WeightLoader::LayerNorm(const std::string& name, double eps) {
  return {.weight = Floats(name + ".weight"),
          .bias = Floats(name + ".bias"),
          .eps = static_cast<float>(eps)};
}

std::unique_ptr<LatentWeight> WeightLoader::Latent(const std::string& name,
                                                   const LatentWeight::Dims& dims) {
  auto weight = ops_.PackLatent(View(name + ".weight"), dims);
  Done(name + ".weight");
  return weight;
}

std::vector<float> WeightLoader::Floats(const std::string& name) {
  std::vector<float> floats = checkpoint_.Floats(name);
  Done(name);
  return floats;
}

Tensor WeightLoader::Table(const std::string& name) {
  Tensor table = CopyOf(checkpoint_.View(name));
  Done(name);
  return table;
}

}  // namespace vl2
