// The determinism contract: logits are bit-identical across chunk sizes, batches and threads.
#include <cstring>

#include "gtest/gtest.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "tools/golden_check/batch_runner.h"

namespace vl2 {
namespace {

constexpr int64_t kNewTokens = 12;

struct BatchShape {
  int64_t chunk;
  int num_others;
  int num_threads;
};

// Logits of some prompt positions and of every generated one.
std::vector<float> LogitsOf(const Checkpoint& checkpoint, const BatchShape& run,
                            WeightPolicy policy) {
  ThreadPool pool(run.num_threads);
  const std::unique_ptr<Ops> ops = MakeCpuOps(&pool);
  const auto model = LanguageModel::Load(checkpoint, *ops, {}, policy);
  std::vector<GrowingHostMatrix> memory(static_cast<size_t>(1 + run.num_others));
  std::vector<ConstHostMatrix> prompts;
  uint32_t seed = 7;
  for (size_t i = 0; i < memory.size(); ++i) {
    const HostMatrix prompt =
        memory[i].Resize(i == 0 ? 211 : 90 + 17 * static_cast<int64_t>(i), model->hidden());
    for (int64_t j = 0; j < prompt.rows * prompt.cols; ++j) {
      seed = seed * 1664525u + 1013904223u;
      prompt.data[j] = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
    }
    prompts.push_back(prompt);
  }
  BatchRunner runner(*model, prompts, run.chunk, kNewTokens);
  std::vector<float> logits;
  const std::vector<int64_t> watched = {0, 1, 63, 64, 65, 130, 210};
  runner.Run(watched, nullptr, {}, [&](size_t sequence, std::span<const float> values) {
    if (sequence == 0) logits.insert(logits.end(), values.begin(), values.end());
  });
  logits.insert(logits.end(), runner.watched_logits().begin(), runner.watched_logits().end());
  return logits;
}

class Determinism : public ::testing::TestWithParam<const char*> {};

TEST_P(Determinism, LogitsAreBitIdentical) {
  const auto checkpoint = Checkpoint::Open(std::string(VL2_TEST_DATA "/golden/") + GetParam());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<float> as_stored;
  const WeightPolicy with_parts(WeightPolicy::kInt4,
                                {"language.lm_head", "language.model.layers.0"});
  for (const WeightPolicy& policy :
       {WeightPolicy(WeightPolicy::kAsStored), WeightPolicy(WeightPolicy::kInt8),
        WeightPolicy(WeightPolicy::kInt4), with_parts}) {
    const std::vector<float> expected = LogitsOf(**checkpoint, {0, 0, 1}, policy);
    ASSERT_EQ(expected.size(), static_cast<size_t>(7 + kNewTokens) * 544);
    for (const BatchShape& run :
         {BatchShape{1, 0, 1}, BatchShape{37, 0, 1}, BatchShape{64, 0, 2}, BatchShape{0, 3, 1},
          BatchShape{37, 3, 2}, BatchShape{5, 6, 3}, BatchShape{200, 2, 8}}) {
      const std::vector<float> actual = LogitsOf(**checkpoint, run, policy);
      ASSERT_EQ(actual.size(), expected.size());
      EXPECT_EQ(std::memcmp(actual.data(), expected.data(), expected.size() * sizeof(float)), 0)
          << Name(policy) << ", chunk " << run.chunk << ", " << run.num_others << " others, "
          << run.num_threads << " threads";
    }
    // The policy has been followed.
    if (policy == WeightPolicy::kAsStored) {
      as_stored = expected;
    } else {
      EXPECT_NE(expected, as_stored);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Determinism,
    ::testing::Values("data/checkpoints/tiny_mha", "data/checkpoints/small_mla",
                      "data/checkpoints/base_noaux", "variants/checkpoints/groups_by_best",
                      "variants/checkpoints/groups_by_two", "variants/checkpoints/shared_heads"));

}  // namespace
}  // namespace vl2
