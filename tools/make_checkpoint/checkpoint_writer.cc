#include "tools/make_checkpoint/checkpoint_writer.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/config.h"
#include "runtime/checkpoint/manifest.h"
#include "tools/make_checkpoint/random_weights.h"
#include "tools/make_checkpoint/shapes.h"
#include "tools/make_checkpoint/synthetic_tokenizer.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

// Values made and written at a time.
constexpr int64_t kPieceValues = int64_t{1} << 22;

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return absl::ResourceExhaustedError(Cat(path, ": cannot be written"));
  return absl::OkStatus();
}

int64_t NumBytes(const TensorSpec& spec, DType dtype) {
  return spec.shape.num_elements() * static_cast<int64_t>(SizeOf(dtype));
}

// Tensors of one file, in order.
struct Shard {
  std::string name;
  std::vector<TensorSpec> tensors;
  int64_t num_bytes = 0;
};

std::vector<Shard> SplitShards(const std::vector<TensorSpec>& specs, DType dtype,
                               int64_t max_bytes) {
  std::vector<Shard> shards(1);
  for (const TensorSpec& spec : specs) {
    const int64_t num_bytes = NumBytes(spec, dtype);
    if (!shards.back().tensors.empty() && shards.back().num_bytes + num_bytes > max_bytes) {
      shards.emplace_back();
    }
    shards.back().tensors.push_back(spec);
    shards.back().num_bytes += num_bytes;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%06zu.safetensors", i + 1, shards.size());
    shards[i].name = name;
  }
  return shards;
}

std::string ShardHeader(const Shard& shard, DType dtype) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t offset = 0;
  for (const TensorSpec& spec : shard.tensors) {
    Json shape = Json::array();
    for (int axis = 0; axis < spec.shape.rank(); ++axis) shape.push_back(spec.shape[axis]);
    const int64_t end = offset + NumBytes(spec, dtype);
    header[spec.name] = {
        {"dtype", std::string(Name(dtype))}, {"shape", shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

// Makes and writes one tensor.
class TensorWriter {
 public:
  TensorWriter(const RandomCheckpointOptions& options, const ModelConfig& config, ThreadPool& pool)
      : options_(options), config_(config), pool_(pool) {}

  void Write(const TensorSpec& spec, std::ofstream& file,
             const std::function<void(int64_t)>& wrote) {
    const uint64_t stream = StreamOf(options_.seed, spec.name);
    const WeightDistribution distribution = DistributionOf(spec, config_);
    const int64_t count = spec.shape.num_elements();
    for (int64_t first = 0; first < count; first += kPieceValues) {
      const int64_t piece = std::min(kPieceValues, count - first);
      values_.resize(static_cast<size_t>(piece));
      constexpr int64_t kUnit = 1 << 16;
      pool_.ParallelFor((piece + kUnit - 1) / kUnit, [&](int64_t unit, int) {
        const auto begin = static_cast<size_t>(unit * kUnit);
        const size_t size = std::min<size_t>(kUnit, values_.size() - begin);
        FillRandom(stream, first + unit * kUnit, distribution,
                   std::span(values_).subspan(begin, size));
      });
      if (options_.dtype == DType::kF32) {
        // Values that bfloat16 holds too: both precisions of one seed are the same model.
        for (float& value : values_) value = ToFloat(ToBFloat16(value));
        file.write(reinterpret_cast<const char*>(values_.data()), piece * 4);
      } else {
        rounded_.resize(values_.size());
        std::transform(values_.begin(), values_.end(), rounded_.begin(), ToBFloat16);
        file.write(reinterpret_cast<const char*>(rounded_.data()), piece * 2);
      }
      wrote(piece * static_cast<int64_t>(SizeOf(options_.dtype)));
    }
  }

 private:
  const RandomCheckpointOptions& options_;
  const ModelConfig& config_;
  ThreadPool& pool_;
  std::vector<float> values_;
  std::vector<BFloat16> rounded_;
};

absl::Status PrepareFolder(const std::string& out) {
  std::error_code error;
  if (fs::exists(out, error)) {
    if (!fs::is_directory(out, error) || !fs::is_empty(out, error)) {
      return absl::AlreadyExistsError(Cat(out, ": exists and is not an empty folder"));
    }
    return absl::OkStatus();
  }
  if (!fs::create_directory(out, error)) {
    return absl::NotFoundError(Cat(out, ": cannot be created: ", error.message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteRandomCheckpoint(const RandomCheckpointOptions& options, const std::string& out,
                                   ThreadPool& pool,
                                   const std::function<void(int64_t, int64_t)>& progress) {
  if (options.dtype != DType::kBF16 && options.dtype != DType::kF32) {
    return InvalidArgument("dtype ", Name(options.dtype), " is not one of BF16, F32");
  }
  VL2_ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(options.config, "config"));
  const LanguageConfig& language = config.language_config;
  if (language.vocab_size < kMinSyntheticVocab) {
    return InvalidArgument("vocab_size ", language.vocab_size, " is below ", kMinSyntheticVocab);
  }
  VL2_RETURN_IF_ERROR(PrepareFolder(out));

  std::vector<TensorSpec> specs = ExpectedTensors(config);
  for (TensorSpec& spec : UnusedPoolingTensors(config)) specs.push_back(std::move(spec));
  const std::vector<Shard> shards = SplitShards(specs, options.dtype, options.max_shard_bytes);
  int64_t total = 0;
  for (const Shard& shard : shards) total += shard.num_bytes;

  Json weight_map = Json::object();
  int64_t written = 0;
  TensorWriter writer(options, config, pool);
  for (const Shard& shard : shards) {
    const std::string path = out + "/" + shard.name;
    std::ofstream file(path, std::ios::binary);
    const std::string header = ShardHeader(shard, options.dtype);
    const uint64_t header_bytes = header.size();
    file.write(reinterpret_cast<const char*>(&header_bytes), 8);
    file << header;
    for (const TensorSpec& spec : shard.tensors) {
      weight_map[spec.name] = shard.name;
      writer.Write(spec, file, [&](int64_t bytes) {
        written += bytes;
        if (progress) progress(written, total);
      });
    }
    file.close();
    if (!file) return absl::ResourceExhaustedError(Cat(path, ": cannot be written"));
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  const SyntheticTokenizer tokenizer = MakeSyntheticTokenizer(language.vocab_size);
  VL2_RETURN_IF_ERROR(WriteText(out + "/model.safetensors.index.json", index.dump(1)));
  VL2_RETURN_IF_ERROR(WriteText(out + "/config.json", options.config.dump(1)));
  VL2_RETURN_IF_ERROR(
      WriteText(out + "/processor_config.json", MakeProcessorConfig(options.config).dump(1)));
  VL2_RETURN_IF_ERROR(WriteText(out + "/tokenizer.json", tokenizer.tokenizer.dump(1)));
  return WriteText(out + "/tokenizer_config.json", tokenizer.tokenizer_config.dump(1));
}

}  // namespace vl2
