// compare_ops: runs one checkpoint with the reference and with the cpu operations on the same
// made-up tile and prompt, and prints the largest differences. For checkpoints of real shapes,
// which the golden data does not hold. See --help.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "runtime/base/cpu_quota.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/make_ops.h"
#include "tools/golden_check/batch_runner.h"
#include "vision_service/image/tile.h"
#include "vision_service/model/vision_encoder.h"

ABSL_FLAG(int64_t, tokens, 100, "Tokens of the prompt.");
ABSL_FLAG(int64_t, new_tokens, 4, "Tokens generated after it.");
ABSL_FLAG(bool, vision, true, "Compare the tower and the projector too.");

namespace vl2 {
namespace {

// What one backend computes.
struct Outputs {
  std::vector<float> embeddings;     // of one tile
  std::vector<float> prompt_logits;  // of some positions
  std::vector<float> logits;         // of the generated tokens
  std::vector<int32_t> ids;
};

// Values in [-1, 1) that depend on the index only.
std::vector<float> SomeValues(int64_t count, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
  }
  return values;
}

Outputs Run(const Checkpoint& checkpoint, const std::string& ops_name, ThreadPool& pool) {
  const std::unique_ptr<Ops> ops = MakeOps(ops_name, &pool).value();
  Outputs outputs;
  if (absl::GetFlag(FLAGS_vision)) {
    const auto vision = VisionEncoder::Load(checkpoint, *ops);
    const int64_t side = vision->image_size();
    std::vector<uint8_t> tile;
    for (const float value : SomeValues(3 * side * side, 1)) {
      tile.push_back(static_cast<uint8_t>((value + 1) * 127.5f));
    }
    const uint8_t* const pixels = tile.data();
    const PixelNormalizer normalizer({0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, true);
    GrowingMatrix memory(ops->device());
    GrowingHostMatrix host_memory;
    const Matrix out = memory.Resize(vision->embeddings_per_tile(), vision->hidden());
    vision->Encode(std::span(&pixels, 1), normalizer.table(), out);
    const ConstHostMatrix values = ToHost(ConstMatrix(out), host_memory);
    outputs.embeddings.assign(values.data, values.data + values.rows * values.cols);
  }
  const auto language = LanguageModel::Load(checkpoint, *ops);
  const int64_t num_tokens = absl::GetFlag(FLAGS_tokens);
  const std::vector<float> prompt = SomeValues(num_tokens * language->hidden(), 2);
  BatchRunner runner(*language, {ConstHostMatrix(prompt.data(), num_tokens, language->hidden())}, 0,
                     absl::GetFlag(FLAGS_new_tokens));
  const std::vector<int64_t> watched = {0, num_tokens / 2, num_tokens - 1};
  runner.Run(watched, nullptr, {}, [&](size_t, std::span<const float> logits) {
    outputs.logits.insert(outputs.logits.end(), logits.begin(), logits.end());
  });
  outputs.prompt_logits = runner.watched_logits();
  outputs.ids = runner.sequence(0).generated;
  return outputs;
}

void Print(const char* what, const std::vector<float>& expected, const std::vector<float>& actual) {
  double worst = 0;
  double square = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(double{expected[i]} - double{actual[i]}));
    square += double{expected[i]} * expected[i];
  }
  const double rms = std::sqrt(square / std::max(1.0, static_cast<double>(expected.size())));
  std::printf("%-16s max error %.2e, root mean square of the values %.2e, %zu values\n", what,
              worst, rms, expected.size());
}

absl::Status Compare(const std::string& dir) {
  VL2_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(dir));
  ThreadPool pool(UsableCores());
  const Outputs cpu = Run(*checkpoint, "cpu", pool);
  const Outputs ref = Run(*checkpoint, "ref", pool);
  if (absl::GetFlag(FLAGS_vision)) Print("tile embeddings", ref.embeddings, cpu.embeddings);
  Print("prompt logits", ref.prompt_logits, cpu.prompt_logits);
  Print("decode logits", ref.logits, cpu.logits);
  std::printf("greedy ids       %s\n", ref.ids == cpu.ids ? "equal" : "differ");
  return absl::OkStatus();
}

}  // namespace
}  // namespace vl2

int main(int argc, char** argv) {
  vl2::SetUsage("compare_ops [flags] DIR\nCompares the cpu operations with ref.",
                "tools/compare_ops/main.cc");
  const std::vector<char*> args = absl::ParseCommandLine(argc, argv);
  if (args.size() != 2) {
    std::cerr << "compare_ops: one checkpoint is needed, see --help\n";
    return 2;
  }
  const absl::Status status = vl2::Compare(args[1]);
  if (!status.ok()) {
    std::cerr << "compare_ops: " << vl2::Message(status) << "\n";
    return 1;
  }
  return 0;
}
