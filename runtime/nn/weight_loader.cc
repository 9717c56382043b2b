#include "runtime/nn/weight_loader.h"

#include <utility>

#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/weight_conversion.h"

namespace vl2 {

WeightLoader::WeightLoader(const Checkpoint& checkpoint, Ops& ops, LoadProgress progress,
                           WeightPolicy policy)
    : checkpoint_(checkpoint), ops_(ops), progress_(std::move(progress)), policy_(policy) {}

WeightLoader::~WeightLoader() {
  if (num_half_tensors_ == 0) return;
  Log(Severity::kInfo, "float16 weights converted",
      {{"tensors", num_half_tensors_},
       {"largest_relative_error", largest_relative_error_},
       {"in", least_exact_.empty() ? "none" : least_exact_}});
  if (num_not_finite_ == 0) return;
  Log(Severity::kWarning, "float16 weights that are no numbers",
      {{"count", num_not_finite_}, {"first_in", not_finite_}});
}

Tensor WeightLoader::Convert(const std::string& name, DType to) {
  const TensorView view = checkpoint_.View(name);
  ConversionLoss loss;
  Tensor converted = ConvertWeights(view, to, loss);
  if (view.dtype != DType::kF16) return converted;
  ++num_half_tensors_;
  if (loss.largest_relative_error > largest_relative_error_) {
    largest_relative_error_ = loss.largest_relative_error;
    least_exact_ = name;
  }
  if (loss.num_not_finite > 0 && num_not_finite_ == 0) not_finite_ = name;
  num_not_finite_ += loss.num_not_finite;
  return converted;
}

WeightView WeightLoader::View(const std::string& name) {
  const WeightView view = checkpoint_.Weight(name);
  if (view.packed != WeightFormat::kAsStored) return view;
  const DType kept = checkpoint_.KeptType(name);
  if (view.dtype == kept && IsAligned(view)) return view;
  return (copies_[name] = Convert(name, kept)).view();
}

std::vector<WeightView> WeightLoader::Views(const std::vector<std::string>& names) {
  bool differ = false;
  for (const std::string& name : names) {
    differ |= checkpoint_.KeptType(name) != checkpoint_.KeptType(names[0]);
  }
  std::vector<WeightView> views;
  for (const std::string& name : names) {
    if (differ) {
      views.emplace_back((copies_[name] = Convert(name, DType::kF32)).view());
    } else {
      views.push_back(View(name));
    }
  }
  return views;
}

void WeightLoader::Done(const std::string& name) {
  copies_.erase(name);
  bytes_ += static_cast<int64_t>(checkpoint_.View(name).num_bytes());
  checkpoint_.Release(name);
  if (progress_) progress_(bytes_);
}

LinearLayer WeightLoader::Linear(const std::string& name, bool bias) {
  return JoinedLinear({{name, bias}});
}

LinearLayer WeightLoader::JoinedLinear(const std::vector<Part>& parts) {
  LinearLayer layer;
  std::vector<std::string> names;
  bool any_bias = false;
  for (const Part& part : parts) {
    names.push_back(part.name + ".weight");
    any_bias |= part.bias;
  }
  const std::vector<WeightView> views = Views(names);
  layer.weight = ops_.PackLinear(views, FormatFor(names[0]));
  std::vector<float> joined;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t num_rows = views[i].shape[0];
    Done(names[i]);
    if (!any_bias) continue;
    std::vector<float> bias(static_cast<size_t>(num_rows), 0.0f);
    if (parts[i].bias) bias = Floats(parts[i].name + ".bias");
    joined.insert(joined.end(), bias.begin(), bias.end());
  }
  if (any_bias) layer.bias = Upload(joined, {layer.weight->out_features()});
  return layer;
}

LinearLayer WeightLoader::PatchLinear(const std::string& name) {
  LinearLayer layer;
  TensorView view = View(name + ".weight");
  const int64_t out = view.shape[0];
  view.shape = Shape({out, view.shape.num_elements() / out});
  layer.weight = ops_.PackLinear(view);
  Done(name + ".weight");
  layer.bias = Vector(name + ".bias");
  return layer;
}

GatedMlp WeightLoader::Mlp(const std::string& name) {
  GatedMlp mlp;
  const std::string gate = name + ".gate_proj.weight";
  const std::string up = name + ".up_proj.weight";
  const std::vector<WeightView> views = Views({gate, up});
  mlp.gate_up = ops_.PackGatedLinear(views[0], views[1], FormatFor(gate));
  Done(gate);
  Done(up);
  mlp.down = Linear(name + ".down_proj", false).weight;
  return mlp;
}

std::unique_ptr<MoeWeight> WeightLoader::Experts(const std::string& name, int64_t num_experts,
                                                 bool shared) {
  const auto prefix = [&](int64_t index) {
    return index < num_experts ? Cat(name, ".experts.", index) : name + ".shared_experts";
  };
  const auto width = [&](int64_t index) {
    return checkpoint_.Weight(prefix(index) + ".gate_proj.weight").shape[0];
  };
  MoeWeight::Dims dims = {.num_experts = num_experts, .width = width(0)};
  dims.hidden = checkpoint_.Weight(prefix(0) + ".gate_proj.weight").shape[1];
  if (shared) dims.shared_width = width(num_experts);
  std::vector<std::string> used;
  const auto release = [&] {
    for (const std::string& tensor : used) Done(tensor);
    used.clear();
  };
  const LoadExpert load = [&](int64_t index) {
    release();
    for (const char* part : {".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"}) {
      used.push_back(prefix(index) + part);
    }
    const std::vector<WeightView> gate_up = Views({used[0], used[1]});
    return ExpertTensors{.gate = gate_up[0], .up = gate_up[1], .down = View(used[2])};
  };
  auto weight = ops_.PackExperts(dims, load, FormatFor(prefix(0) + ".gate_proj.weight"));
  release();
  return weight;
}

RmsNormLayer WeightLoader::RmsNorm(const std::string& name, double eps) {
  return {.weight = Vector(name + ".weight"), .eps = static_cast<float>(eps)};
}

LayerNormLayer WeightLoader::LayerNorm(const std::string& name, double eps) {
  return {.weight = Vector(name + ".weight"),
          .bias = Vector(name + ".bias"),
          .eps = static_cast<float>(eps)};
}

std::unique_ptr<LatentWeight> WeightLoader::Latent(const std::string& name,
                                                   const LatentWeight::Dims& dims) {
  auto weight = ops_.PackLatent(View(name + ".weight"), dims);
  Done(name + ".weight");
  return weight;
}

std::vector<float> WeightLoader::Floats(const std::string& name) {
  const Tensor converted = Convert(name, DType::kF32);
  const auto count = static_cast<size_t>(converted.shape().num_elements());
  std::vector<float> floats(converted.data<float>(), converted.data<float>() + count);
  Done(name);
  return floats;
}

DeviceTensor WeightLoader::Upload(const std::vector<float>& values, const Shape& shape) {
  VL2_CHECK(shape.num_elements() == static_cast<int64_t>(values.size()))
      << values.size() << " values as " << shape;
  return ops_.Upload({DType::kF32, shape, reinterpret_cast<const std::byte*>(values.data())});
}

DeviceTensor WeightLoader::Vector(const std::string& name) {
  return Vector(name, checkpoint_.View(name).shape);
}

DeviceTensor WeightLoader::Vector(const std::string& name, const Shape& shape) {
  return Upload(Floats(name), shape);
}

DeviceTensor WeightLoader::Table(const std::string& name) {
  DeviceTensor table = ops_.Upload(View(name));
  Done(name);
  return table;
}

std::unique_ptr<LinearWeight> WeightLoader::TableAsLinear(const std::string& name,
                                                          const std::string& as) {
  auto weight = ops_.PackLinear(View(name), FormatFor(as));
  copies_.erase(name);
  checkpoint_.Release(name);
  return weight;
}

}  // namespace vl2
