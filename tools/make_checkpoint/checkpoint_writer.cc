#include "tools/make_checkpoint/checkpoint_writer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "runtime/base/sha256.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/config.h"
#include "runtime/checkpoint/manifest.h"
#include "tools/make_checkpoint/random_weights.h"
#include "tools/make_checkpoint/shapes.h"
#include "tools/make_checkpoint/synthetic_tokenizer.h"
#include "tools/shard_writer/shard_writer.h"

namespace vl2 {
namespace {

// Values made and written at a time.
constexpr int64_t kPieceValues = int64_t{1} << 22;

// Makes the values of tensors.
class ValueSource {
 public:
  ValueSource(const RandomCheckpointOptions& options, const ModelConfig& config, ThreadPool& pool)
      : options_(options), config_(config), pool_(pool) {}

  // The tensor as stored, in options.dtype.
  OutTensor Stored(const TensorSpec& spec) {
    return {spec.name, options_.dtype, spec.shape, [this, spec](const OutTensor::Put& put) {
              const int64_t count = spec.shape.num_elements();
              std::vector<std::byte> piece;
              for (int64_t first = 0; first < count; first += kPieceValues) {
                const int64_t num_values = std::min(kPieceValues, count - first);
                const auto num_bytes = num_values * static_cast<int64_t>(SizeOf(options_.dtype));
                piece.resize(static_cast<size_t>(num_bytes));
                Fill(spec, first, num_values, piece.data());
                put(piece.data(), num_bytes);
              }
            }};
  }
  // A matrix, packed.
  OutTensor Packed(const TensorSpec& spec, WeightFormat format) {
    return PackedTensor(spec.name, spec.shape, format, options_.dtype, pool_,
                        [this, spec](int64_t first_row, int64_t num_rows, std::byte* rows) {
                          Fill(spec, first_row * spec.shape[1], num_rows * spec.shape[1], rows);
                        });
  }

 private:
  // Values [first, first + count) of a tensor, in options.dtype.
  void Fill(const TensorSpec& spec, int64_t first, int64_t count, std::byte* out) {
    const uint64_t stream = StreamOf(options_.seed, spec.name);
    const WeightDistribution distribution = DistributionOf(spec, config_);
    values_.resize(static_cast<size_t>(count));
    constexpr int64_t kUnit = 1 << 16;
    pool_.ParallelFor((count + kUnit - 1) / kUnit, [&](int64_t unit, int) {
      const auto begin = static_cast<size_t>(unit * kUnit);
      const size_t size = std::min<size_t>(kUnit, values_.size() - begin);
      FillRandom(stream, first + unit * kUnit, distribution,
                 std::span(values_).subspan(begin, size));
    });
    if (options_.dtype == DType::kF32) {
      // Values that bfloat16 holds too: both precisions of one seed are the same model.
      for (float& value : values_) value = ToFloat(ToBFloat16(value));
      std::memcpy(out, values_.data(), values_.size() * 4);
    } else {
      std::transform(values_.begin(), values_.end(), reinterpret_cast<BFloat16*>(out), ToBFloat16);
    }
  }

  const RandomCheckpointOptions& options_;
  const ModelConfig& config_;
  ThreadPool& pool_;
  std::vector<float> values_;
};

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
  ValueSource source(options, config, pool);
  std::vector<OutTensor> tensors;
  for (const TensorSpec& spec : specs) {
    const WeightFormat format = FormatOf(options.weights, spec.name);
    tensors.push_back(format == WeightFormat::kAsStored ? source.Stored(spec)
                                                        : source.Packed(spec, format));
  }
  VL2_RETURN_IF_ERROR(WriteShards(out, std::move(tensors), options.max_shard_bytes, progress));
  Json written = options.config;
  if (options.weights != WeightPolicy::kAsStored) {
    // As tools/quantize writes it; there is no source whose id it could have.
    Sha256 sha;
    sha.Update(Cat(options.config.dump(), options.seed));
    written["quantization_config"] = {{"quant_method", kQuantMethod},
                                      {"weights", Name(options.weights)},
                                      {"layout", kQuantLayout},
                                      {"source_model_id", "random-" + ToHex(sha.Finish())}};
  }
  const SyntheticTokenizer tokenizer = MakeSyntheticTokenizer(language.vocab_size);
  VL2_RETURN_IF_ERROR(WriteText(out + "/config.json", written.dump(1)));
  VL2_RETURN_IF_ERROR(
      WriteText(out + "/processor_config.json", MakeProcessorConfig(options.config).dump(1)));
  VL2_RETURN_IF_ERROR(WriteText(out + "/tokenizer.json", tokenizer.tokenizer.dump(1)));
  return WriteText(out + "/tokenizer_config.json", tokenizer.tokenizer_config.dump(1));
}

}  // namespace vl2
