#include <cmath>

#include "lm_service/sampling/sampler.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "tools/golden_check/checks.h"

namespace vl2 {
namespace {

constexpr double kSamplerTolerance = 1e-5;
constexpr float kRemoved = -1e30f;  // how the golden data marks words that cannot be drawn

void CheckCase(const GoldenFile& golden, const Json& sample_case, Report& report) {
  const int number = sample_case["case"];
  const std::string item = Cat("sampler/", number);
  auto logits = golden.Floats(Cat(number, ".logits"));
  const auto ids = golden.Ints(Cat(number, ".input_ids"));
  const auto processed = golden.Floats(Cat(number, ".processed"));
  const auto probs = golden.Floats(Cat(number, ".probs"));
  if (!logits.ok() || !ids.ok() || !processed.ok() || !probs.ok()) {
    report.Check(item, "tensors", false, Message(logits.status()));
    return;
  }
  SamplingParams params;
  params.temperature = sample_case["temperature"];
  params.top_k = sample_case["top_k"];
  params.top_p = sample_case["top_p"];
  params.repetition_penalty = sample_case["repetition_penalty"];
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>(ids->begin(), ids->end()));
  Sampler sampler;
  const auto kept = sampler.Distribution(*logits, params, history);
  if (!kept.ok()) {
    report.Check(item, "distribution", false, Message(kept.status()));
    return;
  }
  std::vector<float> actual_processed(processed->size(), kRemoved);
  std::vector<float> actual_probs(probs->size(), 0.0f);
  for (const Sampler::Candidate& candidate : *kept) {
    actual_processed[static_cast<size_t>(candidate.id)] = candidate.logit;
    actual_probs[static_cast<size_t>(candidate.id)] = static_cast<float>(candidate.probability);
  }
  report.Compare(item, "processed", *processed, actual_processed, kSamplerTolerance);
  report.Compare(item, "probs", *probs, actual_probs, kSamplerTolerance);
  report.Check(item, "kept", static_cast<int>(kept->size()) == sample_case["kept"],
               Cat(kept->size()));
  report.Check(item, "argmax", kept->front().id == sample_case["argmax"], Cat(kept->front().id));
}

}  // namespace

void CheckSampler(const GoldenOptions& options, Report& report) {
  const auto cases = ParseJsonFile(options.dir + "/sampler/sampler.json");
  const auto golden = GoldenFile::Open(options.dir + "/sampler/sampler.safetensors");
  if (!cases.ok() || !golden.ok()) {
    report.Absent("sampler/");
    return;
  }
  for (const Json& sample_case : *cases) CheckCase(*golden, sample_case, report);
}

}  // namespace vl2
