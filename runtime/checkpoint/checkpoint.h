// Checkpoint: a folder laid out like a published DeepSeek-VL2 checkpoint, opened and checked.
//
//   config.json, processor_config.json     required
//   model.safetensors.index.json + shards, or model.safetensors
//   tokenizer.json, tokenizer_config.json  read by text/; here they only enter the model id
//   vl2_fingerprint.json                   optional, written by tools/fingerprint
//
// Or like one that tools/quantize wrote: config.json has a quantization_config of the method "vl2",
// and matrices whose format that asks for (weight_policy.h) are packed (superblock.h), X.weight as
// X.weight.w7a8 and so on, U8 [panels, bytes of a panel].
//
// Open reads headers only: every expected tensor is there once, with the expected shape and type
// bfloat16, float16 or float32, in the shard that the index names, and nothing else is. Weights are
// read when a model copies them. A configuration's keys that nobody knows are named in one warning.
//
// Owns: the mapped shards. Threading: immutable after Open.
// Errors: name the file, the tensor and what was expected.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/checkpoint/config.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/tensor/tensor.h"
#include "runtime/weight_format/weight_policy.h"
#include "runtime/weight_format/weight_view.h"

namespace vl2 {

class Checkpoint {
 public:
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& dir,
                                                          WeightType weights = WeightType::kStored);

  const std::string& dir() const { return dir_; }
  const ModelConfig& config() const { return config_; }
  const ProcessorConfig& processor_config() const { return processor_config_; }

  // How the files' matrices are packed; kAsStored: not at all.
  const WeightPolicy& packed() const { return packed_; }
  // What `wanted` comes to for these files: packed weights stay so. INVALID_ARGUMENT where they are
  // packed otherwise, or `wanted` names a part that the model lacks.
  absl::StatusOr<WeightChoice> Choose(const WeightChoice& wanted) const;

  // The view of an expected tensor as the file has it, perhaps misaligned. REQUIRES: `name` is in
  // ExpectedTensors(config()).
  TensorView View(std::string_view name) const;
  // The same as a matrix of weights, which may be packed.
  WeightView Weight(std::string_view name) const;
  // The type in which a model keeps that tensor: not the view's where it is to be converted.
  DType KeptType(std::string_view name) const;
  // Bytes of all tensors whose names begin with `prefix`, as stored.
  int64_t NumBytes(std::string_view prefix) const;
  // Gives a tensor's mapped pages back to the system, after its weights were copied.
  void Release(std::string_view name) const;

  // A copy of a tensor as float32, exact.
  std::vector<float> Floats(std::string_view name) const;

  // Which model this is: a hexadecimal SHA-256 over the canonical configuration and processor
  // files, the tokenizer files and a digest of every tensor. The digests come from
  // vl2_fingerprint.json ("full-…") or, without one, from samples of each tensor ("sampled-…"), in
  // well under a second. It does not depend on how the tensors are spread over shards. Of packed
  // weights it is that of the checkpoint they were made from.
  absl::StatusOr<std::string> ModelId() const;

 private:
  struct Location {
    const SafetensorsFile* file = nullptr;
    TensorView view;
    WeightFormat format = WeightFormat::kAsStored;
    Shape matrix = {};  // of packed weights
  };

  Checkpoint() = default;
  absl::Status ReadQuantization(Json& config, const std::string& path);
  absl::Status OpenShards();
  absl::Status CheckTensors();

  std::string dir_;
  WeightType weights_ = WeightType::kStored;
  WeightPolicy packed_ = WeightPolicy::kAsStored;
  std::string source_model_id_;  // of packed weights
  ModelConfig config_;
  ProcessorConfig processor_config_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Location, std::less<>> tensors_;
};

// Digest of all bytes of one tensor with its type and shape; what vl2_fingerprint.json holds.
std::string TensorDigest(const TensorView& view);

inline constexpr char kFingerprintFile[] = "vl2_fingerprint.json";
// In quantization_config of config.json.
inline constexpr char kQuantMethod[] = "vl2";
inline constexpr int64_t kQuantLayout = 1;

}  // namespace vl2
