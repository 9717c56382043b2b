// A golden checkpoint's language model and requests for it, for tests of the engine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lm_service/engine/engine_core.h"
#include "lm_service/model/language_model.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/cpu/make_cpu_ops.h"

namespace vl2 {

struct TestModel {
  explicit TestModel(const std::string& name, int num_threads = 1,
                     const WeightPolicy& policy = WeightPolicy::kAsStored)
      : pool(num_threads) {
    auto opened = Checkpoint::Open(std::string(VL2_TEST_DATA "/golden/data/checkpoints/") + name);
    VL2_CHECK(opened.ok()) << opened.status();
    checkpoint = *std::move(opened);
    ops = MakeCpuOps(&pool);
    language = LanguageModel::Load(*checkpoint, *ops, {}, policy);
  }
  ThreadPool pool;
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Ops> ops;
  std::unique_ptr<LanguageModel> language;
};

// Keeps all events of one request.
struct CollectingSink : GenerateSink {
  std::vector<std::pair<int, int64_t>> slots_needed;
  std::vector<std::vector<SampledToken>> tokens;  // by sample
  std::vector<FinishReason> reasons;
  absl::Status status = absl::UnknownError("not finished");
  GenerateStats stats;
  int num_finished = 0;

  void OnSlotNeeded(int slot, int64_t first) override { slots_needed.emplace_back(slot, first); }
  void OnPrefill(int64_t, int64_t) override {}
  void OnToken(int sample, const SampledToken& token) override {
    tokens.resize(std::max(tokens.size(), static_cast<size_t>(sample) + 1));
    tokens[static_cast<size_t>(sample)].push_back(token);
  }
  void OnSampleFinished(int, FinishReason reason) override { reasons.push_back(reason); }
  void OnFinished(const absl::Status& end, const GenerateStats& end_stats) override {
    status = end;
    stats = end_stats;
    ++num_finished;
  }
  // Ids of a sample, and the bits of their log-probabilities: equal only when logits are.
  std::vector<std::pair<int32_t, float>> Answer(size_t sample = 0) const {
    std::vector<std::pair<int32_t, float>> answer;
    if (sample >= tokens.size()) return answer;
    for (const SampledToken& token : tokens[sample]) answer.emplace_back(token.id, token.logprob);
    return answer;
  }
};

// `count` token ids that depend on `seed`.
inline std::vector<int32_t> SomeIds(int64_t count, uint32_t seed) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    ids.push_back(static_cast<int32_t>(3 + (seed >> 8) % 490));
  }
  return ids;
}

// A sampled request over text, with log-probabilities.
inline GenerateRequest TextRequest(int64_t num_tokens, uint32_t seed, int64_t max_new_tokens) {
  GenerateRequest request;
  request.parts = {SomeIds(num_tokens, seed)};
  request.max_new_tokens = max_new_tokens;
  request.sampling.temperature = 0.9;
  request.sampling.seed = seed;
  request.sampling.logprobs = true;
  return request;
}

}  // namespace vl2
