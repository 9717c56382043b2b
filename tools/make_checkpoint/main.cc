// make_checkpoint: writes a checkpoint of a real shape with random weights, for speed work and load
// tests. See --help.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "tools/make_checkpoint/checkpoint_writer.h"
#include "tools/make_checkpoint/shapes.h"

ABSL_FLAG(std::string, shape, "tiny",
          "tiny, small or base, or the path of a config.json whose shape to use.");
ABSL_FLAG(int, layers, 0, "Decoder layers; 0 keeps the shape's own number.");
ABSL_FLAG(int, vision_layers, 0, "Layers of the vision tower; 0 keeps the shape's own number.");
ABSL_FLAG(std::string, dtype, "bf16", "bf16 or f32 (values that bf16 holds too).");
ABSL_FLAG(std::string, weights, "bf16", "int8 or int4: packed, as tools/quantize writes them.");
ABSL_FLAG(uint64_t, seed, 1, "Same seed, same weights.");
ABSL_FLAG(int, threads, 0, "Threads that draw values; 0: as many as the machine has.");

namespace vl2 {
namespace {

absl::StatusOr<RandomCheckpointOptions> ReadFlags() {
  RandomCheckpointOptions options;
  const std::string shape = absl::GetFlag(FLAGS_shape);
  if (shape == "tiny" || shape == "small" || shape == "base") {
    VL2_ASSIGN_OR_RETURN(options.config, PublishedShape(shape));
  } else {
    VL2_ASSIGN_OR_RETURN(options.config, ParseJsonFile(shape));
    if (!options.config.is_object()) return InvalidArgument(shape, ": not a config.json");
  }
  if (absl::GetFlag(FLAGS_layers) > 0) {
    options.config["language_config"]["num_hidden_layers"] = absl::GetFlag(FLAGS_layers);
  }
  if (absl::GetFlag(FLAGS_vision_layers) > 0) {
    options.config["vision_config"]["layers"] = absl::GetFlag(FLAGS_vision_layers);
  }
  const std::string dtype = absl::GetFlag(FLAGS_dtype);
  if (dtype != "bf16" && dtype != "f32") {
    return InvalidArgument("--dtype=", dtype, " is not one of bf16, f32");
  }
  options.dtype = dtype == "f32" ? DType::kF32 : DType::kBF16;
  VL2_ASSIGN_OR_RETURN(const WeightChoice weights, ParseWeights(absl::GetFlag(FLAGS_weights)));
  options.weights = weights.policy;
  options.seed = absl::GetFlag(FLAGS_seed);
  return options;
}

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

absl::Status Run(const std::string& out) {
  VL2_ASSIGN_OR_RETURN(const RandomCheckpointOptions options, ReadFlags());
  const int threads = absl::GetFlag(FLAGS_threads);
  ThreadPool pool(threads > 0 ? threads : UsableCores());
  return WriteRandomCheckpoint(options, out, pool, ShowProgress);
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  vl2::SetUsage(
      "make_checkpoint [--shape=tiny|small|base|FILE] [--layers=N] [--dtype=bf16|f32]\n"
      "                [--weights=int8|int4] OUT\n"
      "Writes a checkpoint with seeded random weights into the new folder OUT.",
      "tools/make_checkpoint/main.cc");
  const std::vector<char*> args = absl::ParseCommandLine(argc, argv);
  if (args.size() != 2) {
    std::cerr << "make_checkpoint: one folder to write is needed, see --help\n";
    return 2;
  }
  const absl::Status status = vl2::Run(args[1]);
  if (!status.ok()) {
    std::cerr << "make_checkpoint: " << vl2::Message(status) << "\n";
    return 1;
  }
  return 0;
}
