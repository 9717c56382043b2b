#include "runtime/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "runtime/base/json.h"
#include "runtime/base/log.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/weight_conversion.h"

namespace vl2 {
namespace {

constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kSingleFile[] = "model.safetensors";
constexpr size_t kMaxShards = 4096;

// A shard named by the index must be a file of the folder itself.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of("/\\") == std::string::npos && name.find('\0') == std::string::npos;
}

// tensor name → shard file name, from the index.
absl::StatusOr<std::map<std::string, std::string>> ParseIndex(const Json& json,
                                                              const std::string& path) {
  const JsonFields fields(json, path);
  const Json* weight_map = fields.Find("weight_map");
  if (weight_map == nullptr || !weight_map->is_object() || weight_map->empty()) {
    return InvalidArgument(path, ".weight_map: expected an object of tensor names");
  }
  std::map<std::string, std::string> index;
  for (const auto& [name, shard] : weight_map->items()) {
    if (!shard.is_string() || !IsPlainFileName(shard.get<std::string>())) {
      return InvalidArgument(path, ".weight_map: tensor \"", name, "\" is in ", shard.dump(),
                             ", which is not the name of a file in the folder");
    }
    index[name] = shard.get<std::string>();
  }
  return index;
}

// A packed tensor's name says its format: "X.weight.w4a8" is X.weight.
std::pair<std::string, WeightFormat> FormatOfName(const std::string& name) {
  for (const WeightFormat format :
       {WeightFormat::kW7A8, WeightFormat::kW8A16, WeightFormat::kW4A8}) {
    const std::string suffix = Cat(".weight.", Name(format));
    if (name.ends_with(suffix)) {
      return {name.substr(0, name.size() - Name(format).size() - 1), format};
    }
  }
  return {name, WeightFormat::kAsStored};
}

void WarnOfUnknownKeys(std::vector<std::string> keys, const std::vector<std::string>& more) {
  keys.insert(keys.end(), more.begin(), more.end());
  if (keys.empty()) return;
  constexpr size_t kMaxNamed = 20;
  std::string names;
  for (size_t i = 0; i < std::min(keys.size(), kMaxNamed); ++i) {
    names += Cat(i == 0 ? "" : ", ", keys[i].substr(0, 200));
  }
  Log(Severity::kWarning, "configuration keys that are not known, and not followed if they matter",
      {{"count", keys.size()}, {"keys", names}});
}

void AddShape(const TensorView& view, Sha256& sha) {
  sha.Update(Cat(Name(view.dtype), " ", view.shape, "\n"));
}

// Digest of the ends of a tensor and of pieces spread over it.
std::string SampledDigest(const TensorView& view) {
  constexpr size_t kPieceBytes = 512;
  constexpr size_t kNumPieces = 4;
  Sha256 sha;
  AddShape(view, sha);
  const size_t num_bytes = view.num_bytes();
  if (num_bytes <= kPieceBytes * kNumPieces) {
    sha.Update(view.bytes, num_bytes);
  } else {
    for (size_t i = 0; i < kNumPieces; ++i) {
      const size_t offset = (num_bytes - kPieceBytes) / (kNumPieces - 1) * i;
      sha.Update(view.bytes + offset, kPieceBytes);
    }
  }
  return ToHex(sha.Finish());
}

}  // namespace

std::string TensorDigest(const TensorView& view) {
  Sha256 sha;
  AddShape(view, sha);
  sha.Update(view.bytes, view.num_bytes());
  return ToHex(sha.Finish());
}

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& dir,
                                                             WeightType weights) {
  std::error_code error;
  if (!std::filesystem::is_directory(dir, error)) {
    return absl::NotFoundError(Cat(dir, ": no such folder"));
  }
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->dir_ = dir;
  checkpoint->weights_ = weights;
  const std::string config_path = dir + "/config.json";
  VL2_ASSIGN_OR_RETURN(Json config, ParseJsonFile(config_path));
  VL2_RETURN_IF_ERROR(checkpoint->ReadQuantization(config, config_path));
  VL2_ASSIGN_OR_RETURN(checkpoint->config_, ParseModelConfig(config, config_path));
  const std::string processor_path = dir + "/processor_config.json";
  VL2_ASSIGN_OR_RETURN(const Json processor, ParseJsonFile(processor_path));
  VL2_ASSIGN_OR_RETURN(checkpoint->processor_config_,
                       ParseProcessorConfig(processor, processor_path));

  const ModelConfig& model = checkpoint->config_;
  const ProcessorConfig& processing = checkpoint->processor_config_;
  if (processing.patch_size != model.vision_config.patch_size ||
      processing.downsample_ratio != model.projector_config.downsample_ratio ||
      processing.candidate_resolutions[0].first != model.vision_config.image_size) {
    return InvalidArgument(
        processor_path, ": patch_size ", processing.patch_size, ", downsample_ratio ",
        processing.downsample_ratio, ", tile side ", processing.candidate_resolutions[0].first,
        " differ from config.json's ", model.vision_config.patch_size, ", ",
        model.projector_config.downsample_ratio, ", ", model.vision_config.image_size);
  }
  WarnOfUnknownKeys(model.unknown_keys, processing.unknown_keys);
  VL2_RETURN_IF_ERROR(checkpoint->OpenShards());
  VL2_RETURN_IF_ERROR(checkpoint->CheckTensors());
  return checkpoint;
}

// Takes a quantization_config of ours out of `config`; others stay and are refused with the rest.
absl::Status Checkpoint::ReadQuantization(Json& config, const std::string& path) {
  if (!config.is_object()) return absl::OkStatus();
  const auto it = config.find("quantization_config");
  if (it == config.end() || !it->is_object() ||
      it->value("quant_method", Json()) != Json(kQuantMethod)) {
    return absl::OkStatus();
  }
  const std::string context = path + ".quantization_config";
  const JsonFields fields(*it, context);
  VL2_ASSIGN_OR_RETURN(const std::string weights, fields.String("weights", std::nullopt));
  VL2_ASSIGN_OR_RETURN(const WeightChoice choice, ParseWeights(weights));
  if (choice.policy == WeightPolicy::kAsStored) {
    return InvalidArgument(context, ".weights: \"", weights, "\" is not one of int8, int4");
  }
  const Json layout = it->value("layout", Json());
  if (layout != Json(kQuantLayout)) {
    return InvalidArgument(context, ".layout: ", layout.dump(), " is not known, only ",
                           kQuantLayout, ": written by another version of tools/quantize");
  }
  VL2_ASSIGN_OR_RETURN(source_model_id_, fields.String("source_model_id", std::nullopt));
  if (source_model_id_.size() > 100 ||
      source_model_id_.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") !=
          std::string::npos) {
    return InvalidArgument(context, ".source_model_id: is no model id");
  }
  if (weights_ == WeightType::kF32) {
    return InvalidArgument(path, ": the weights are ", weights, ", --weights is f32");
  }
  packed_ = choice.policy;
  config.erase(it);
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenShards() {
  const std::string index_path = dir_ + "/" + kIndexFile;
  std::error_code error;
  const bool sharded = std::filesystem::exists(index_path, error);
  std::map<std::string, std::string> index;
  std::set<std::string> shards = {kSingleFile};
  if (sharded) {
    VL2_ASSIGN_OR_RETURN(const Json json, ParseJsonFile(index_path));
    VL2_ASSIGN_OR_RETURN(index, ParseIndex(json, index_path));
    shards.clear();
    for (const auto& [name, shard] : index) shards.insert(shard);
    if (shards.size() > kMaxShards) {
      return InvalidArgument(index_path, ": ", shards.size(), " shards, the limit is ", kMaxShards);
    }
  }
  std::map<std::string, const SafetensorsFile*> by_name;
  for (const std::string& shard : shards) {
    const std::string path = dir_ + "/" + shard;
    if (!std::filesystem::exists(path, error)) {
      return absl::NotFoundError(
          sharded ? Cat(index_path, ": names the shard \"", shard, "\", which is not in the folder")
                  : Cat(dir_, ": neither ", kIndexFile, " nor ", kSingleFile, " is there"));
    }
    VL2_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
    for (const auto& [name, entry] : file->header()) {
      const auto listed = index.find(name);
      if (sharded && (listed == index.end() || listed->second != shard)) {
        return InvalidArgument(
            path, ": tensor \"", name, "\" is here, but ", kIndexFile,
            listed == index.end() ? " does not list it" : " puts it into " + listed->second);
      }
      const auto [logical, format] = FormatOfName(name);
      if (!tensors_.try_emplace(logical, Location{file.get(), file->Find(name).value(), format})
               .second) {
        return InvalidArgument(path, ": tensor \"", logical, "\" is there twice");
      }
    }
    by_name[shard] = file.get();
    files_.push_back(std::move(file));
  }
  for (const auto& [name, shard] : index) {
    if (!tensors_.contains(FormatOfName(name).first)) {
      return InvalidArgument(dir_, "/", shard, ": tensor \"", name, "\" is missing, ", kIndexFile,
                             " puts it here");
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::CheckTensors() {
  std::set<std::string_view> expected_names;
  const std::vector<TensorSpec> expected = ExpectedTensors(config_);
  for (const TensorSpec& spec : expected) {
    expected_names.insert(spec.name);
    const auto it = tensors_.find(spec.name);
    if (it == tensors_.end()) {
      return InvalidArgument(dir_, ": tensor \"", spec.name, "\" is missing, expected shape ",
                             spec.shape);
    }
    Location& location = it->second;
    const SafetensorsFile* const file = location.file;
    const TensorView& view = location.view;
    const WeightFormat format = FormatOf(packed_, spec.name);
    if (location.format != format) {
      return InvalidArgument(file->path(), ": tensor \"", spec.name, "\" is ",
                             Name(location.format), ", expected ", Name(format), " of weights ",
                             Name(packed_));
    }
    if (format != WeightFormat::kAsStored) {
      location.matrix = spec.shape;
      const WeightView matrix(format, spec.shape, view.bytes);
      const Shape panels = {matrix.num_panels(), PanelBytes(format, spec.shape[1])};
      if (view.dtype != DType::kU8 || view.shape != panels) {
        return InvalidArgument(file->path(), ": tensor \"", spec.name, ".", Name(format), "\" is ",
                               view.shape, " ", Name(view.dtype), ", expected ", panels, " U8");
      }
      if (KindOf(spec.name) == TensorKind::kAttention && spec.shape[0] % kSuperblockLanes != 0) {
        return InvalidArgument(file->path(), ": tensor \"", spec.name, "\" has ", spec.shape[0],
                               " outputs, packed ones must be a multiple of ", kSuperblockLanes);
      }
      continue;
    }
    if (view.shape != spec.shape) {
      return InvalidArgument(file->path(), ": tensor \"", spec.name, "\" has shape ", view.shape,
                             ", config.json asks for ", spec.shape);
    }
    if (view.dtype != DType::kBF16 && view.dtype != DType::kF16 && view.dtype != DType::kF32) {
      return InvalidArgument(file->path(), ": tensor \"", spec.name, "\" is ", Name(view.dtype),
                             ", expected BF16, F16 or F32");
    }
  }
  for (const auto& [name, location] : tensors_) {
    if (expected_names.contains(name) || IsIgnoredTensor(name)) continue;
    return InvalidArgument(location.file->path(), ": tensor \"", name,
                           "\" does not belong to the model that config.json describes");
  }
  return absl::OkStatus();
}

absl::StatusOr<WeightChoice> Checkpoint::Choose(const WeightChoice& wanted) const {
  VL2_ASSIGN_OR_RETURN(WeightChoice choice, Reconcile(wanted, packed_));
  for (const std::string& part : choice.policy.finer()) {
    const auto it = tensors_.lower_bound(part + ".");
    if (it == tensors_.end() || !it->first.starts_with(part + ".")) {
      return InvalidArgument("--weights names ", part, ", which the model lacks");
    }
  }
  return choice;
}

TensorView Checkpoint::View(std::string_view name) const {
  const auto it = tensors_.find(name);
  VL2_CHECK(it != tensors_.end()) << name;
  return it->second.view;
}

WeightView Checkpoint::Weight(std::string_view name) const {
  const auto it = tensors_.find(name);
  VL2_CHECK(it != tensors_.end()) << name;
  const Location& location = it->second;
  if (location.format == WeightFormat::kAsStored) return location.view;
  return WeightView(location.format, location.matrix, location.view.bytes);
}

int64_t Checkpoint::NumBytes(std::string_view prefix) const {
  int64_t bytes = 0;
  for (const auto& [name, location] : tensors_) {
    if (std::string_view(name).substr(0, prefix.size()) == prefix) {
      bytes += static_cast<int64_t>(location.view.num_bytes());
    }
  }
  return bytes;
}

void Checkpoint::Release(std::string_view name) const {
  const auto it = tensors_.find(name);
  VL2_CHECK(it != tensors_.end()) << name;
  it->second.file->Release(it->second.view);
}

std::vector<float> Checkpoint::Floats(std::string_view name) const {
  ConversionLoss none;
  const Tensor copy = ConvertWeights(View(name), DType::kF32, none);
  const auto count = static_cast<size_t>(copy.shape().num_elements());
  return std::vector<float>(copy.data<float>(), copy.data<float>() + count);
}

DType Checkpoint::KeptType(std::string_view name) const {
  if (weights_ == WeightType::kF32) return DType::kF32;
  const DType stored = View(name).dtype;
  return stored == DType::kF16 ? DType::kBF16 : stored;
}

absl::StatusOr<std::string> Checkpoint::ModelId() const {
  if (!source_model_id_.empty()) return source_model_id_;
  Sha256 sha;
  for (const char* file : {"config.json", "processor_config.json"}) {
    VL2_ASSIGN_OR_RETURN(const Json json, ParseJsonFile(dir_ + "/" + file));
    // dump() writes keys in order and no white space: formatting does not change the id.
    sha.Update(Cat(file, "\n", json.dump(-1, ' ', true), "\n"));
  }
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
    VL2_ASSIGN_OR_RETURN(const std::string text, ReadFile(dir_ + "/" + file, size_t{256} << 20));
    sha.Update(Cat(file, " ", text.size(), "\n"));
    sha.Update(text);
  }
  Json fingerprint;
  std::error_code error;
  const std::string path = dir_ + "/" + kFingerprintFile;
  const bool full = std::filesystem::exists(path, error);
  if (full) {
    VL2_ASSIGN_OR_RETURN(fingerprint, ParseJsonFile(path));
  }
  for (const TensorSpec& spec : ExpectedTensors(config_)) {
    const TensorView view = View(spec.name);
    std::string digest;
    if (full) {
      VL2_ASSIGN_OR_RETURN(digest,
                           JsonFields(fingerprint, path).String(spec.name.c_str(), std::nullopt));
    } else {
      digest = SampledDigest(view);
    }
    sha.Update(Cat(spec.name, " ", digest, "\n"));
  }
  return (full ? "full-" : "sampled-") + ToHex(sha.Finish());
}

}  // namespace vl2
