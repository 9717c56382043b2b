// quantize: a checkpoint with its weights packed as integers, so that the services load it at the
// speed of the disk. Reads and writes matrix by matrix. See --help and docs/quantization.md.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/weight_conversion.h"
#include "tools/shard_writer/shard_writer.h"

ABSL_FLAG(std::string, weights, "int8",
          "int8 or int4, perhaps with parts that get more bits: int4+language.model.layers.0 "
          "(docs/quantization.md).");
ABSL_FLAG(int, threads, 0, "Threads; 0: as many as the machine has.");

namespace vl2 {
namespace {

namespace fs = std::filesystem;

void ShowProgress(int64_t written, int64_t total) {
  static int shown = -1;
  const int percent = static_cast<int>(100 * written / std::max<int64_t>(total, 1));
  // On a terminal one line that grows; in a log a line every tenth.
  const bool terminal = isatty(STDERR_FILENO);
  if (percent == shown || (!terminal && percent % 10 != 0)) return;
  shown = percent;
  std::fprintf(stderr, "%s%3d%% of %.2f GB%s", terminal ? "\r" : "", percent,
               static_cast<double>(total) / 1e9, terminal && percent < 100 ? "" : "\n");
}

// Rows of a matrix in bfloat16 or float32.
OutTensor Packed(const Checkpoint& checkpoint, const TensorSpec& spec, WeightFormat format,
                 ThreadPool& pool) {
  const DType kept = checkpoint.KeptType(spec.name);
  const int64_t in = spec.shape[1];
  OutTensor tensor = PackedTensor(
      spec.name, spec.shape, format, kept, pool,
      [&checkpoint, name = spec.name, kept, in](int64_t first, int64_t count, std::byte* rows) {
        const TensorView view = checkpoint.View(name);
        const size_t row_bytes = static_cast<size_t>(in) * SizeOf(view.dtype);
        const TensorView part = {
            view.dtype, {count, in}, view.bytes + static_cast<size_t>(first) * row_bytes};
        ConversionLoss none;
        const Tensor converted = ConvertWeights(part, kept, none);
        std::memcpy(rows, converted.view().bytes, converted.view().num_bytes());
      });
  tensor.write = [write = std::move(tensor.write), &checkpoint,
                  name = spec.name](const OutTensor::Put& put) {
    write(put);
    checkpoint.Release(name);
  };
  return tensor;
}

OutTensor Copied(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView view = checkpoint.View(name);
  return {name, view.dtype, view.shape, [&checkpoint, name, view](const OutTensor::Put& put) {
            put(view.bytes, static_cast<int64_t>(view.num_bytes()));
            checkpoint.Release(name);
          }};
}

// The processor's and the tokenizer's files, and licences; a README would tell of other weights.
absl::Status CopyOtherFiles(const std::string& from, const std::string& to) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    const std::string name = entry.path().filename().string();
    const bool wanted = name.ends_with(".json") || name.ends_with(".txt") ||
                        name.ends_with(".model") || name.starts_with("LICENSE");
    if (!entry.is_regular_file(error) || !wanted || name == "config.json" ||
        name == kFingerprintFile || name.find(".safetensors") != std::string::npos) {
      continue;
    }
    fs::copy_file(entry.path(), fs::path(to) / name, error);
    if (error) return absl::UnavailableError(Cat(to, "/", name, ": ", error.message()));
  }
  return absl::OkStatus();
}

absl::Status Run(const std::string& dir, const std::string& out) {
  VL2_ASSIGN_OR_RETURN(const WeightChoice choice, ParseWeights(absl::GetFlag(FLAGS_weights)));
  if (choice.policy == WeightPolicy::kAsStored) {
    return InvalidArgument("--weights ", absl::GetFlag(FLAGS_weights), " is not one of int8, int4");
  }
  VL2_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(dir));
  if (checkpoint->packed() != WeightPolicy::kAsStored) {
    return InvalidArgument(dir, ": the weights are ", Name(checkpoint->packed()), " already");
  }
  VL2_RETURN_IF_ERROR(checkpoint->Choose(choice));
  VL2_ASSIGN_OR_RETURN(const std::string model_id, checkpoint->ModelId());
  const int threads = absl::GetFlag(FLAGS_threads);
  ThreadPool pool(threads > 0 ? threads : UsableCores());
  std::vector<OutTensor> tensors;
  for (const TensorSpec& spec : ExpectedTensors(checkpoint->config())) {
    const TensorKind kind = KindOf(spec.name);
    const WeightFormat format = FormatOf(choice.policy, spec.name);
    if (format == WeightFormat::kAsStored) {
      tensors.push_back(Copied(*checkpoint, spec.name));
      continue;
    }
    if (kind == TensorKind::kAttention && spec.shape[0] % kSuperblockLanes != 0) {
      return InvalidArgument(dir, ": tensor \"", spec.name, "\" has ", spec.shape[0],
                             " outputs, packed ones must be a multiple of ", kSuperblockLanes);
    }
    tensors.push_back(Packed(*checkpoint, spec, format, pool));
  }
  VL2_ASSIGN_OR_RETURN(Json config, ParseJsonFile(dir + "/config.json"));
  config["quantization_config"] = {{"quant_method", kQuantMethod},
                                   {"weights", Name(choice.policy)},
                                   {"layout", kQuantLayout},
                                   {"source_model_id", model_id}};
  VL2_RETURN_IF_ERROR(PrepareFolder(out));
  VL2_RETURN_IF_ERROR(CopyOtherFiles(dir, out));
  VL2_RETURN_IF_ERROR(WriteShards(out, std::move(tensors), int64_t{2} << 30, ShowProgress));
  // Last: a folder without it is no checkpoint, so half a run is not taken for one.
  return WriteText(out + "/config.json", config.dump(1) + "\n");
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  vl2::SetUsage(
      "quantize [--weights=int8|int4] DIR OUT\n"
      "Writes the checkpoint DIR with its weights packed as integers into the new folder OUT.",
      "tools/quantize/main.cc");
  const std::vector<char*> args = absl::ParseCommandLine(argc, argv);
  if (args.size() != 3) {
    std::cerr << "quantize: a checkpoint and a folder to write are needed, see --help\n";
    return 2;
  }
  const absl::Status status = vl2::Run(args[1], args[2]);
  if (!status.ok()) {
    std::cerr << "quantize: " << vl2::Message(status) << "\n";
    return 1;
  }
  return 0;
}
