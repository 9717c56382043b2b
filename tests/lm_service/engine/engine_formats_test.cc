// The determinism contract in every format of the weights and of the cache: the same bits alone,
// beside others, preempted and computed again, and resumed from a prefix.
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tests/lm_service/engine/test_model.h"

namespace vl2 {
namespace {

using Answer = std::vector<std::pair<int32_t, float>>;
using Format = std::tuple<const char*, const char*, DType>;  // checkpoint, --weights, cache

class EngineFormats : public ::testing::TestWithParam<Format> {
 protected:
  EngineFormats()
      : model_(std::get<0>(GetParam()), 2, ParseWeights(std::get<1>(GetParam()))->policy) {}

  EngineOptions Options(int64_t num_blocks) const {
    EngineOptions options;
    options.scheduler.num_blocks = num_blocks;
    options.scheduler.max_batch_tokens = 48;  // prompts run in several chunks
    options.end_token_id = -1;
    options.cache_dtype = std::get<2>(GetParam());
    return options;
  }
  // All at once, in a cache of so many blocks; `preemptions`: how many there were.
  std::vector<Answer> Run(const std::vector<GenerateRequest>& requests, int64_t num_blocks,
                          int64_t* preemptions = nullptr) {
    EngineCore core(Options(num_blocks), *model_.language);
    std::vector<std::shared_ptr<CollectingSink>> sinks;
    for (const GenerateRequest& request : requests) {
      sinks.push_back(std::make_shared<CollectingSink>());
      auto sequence = core.MakeSequence(request, sinks.back());
      EXPECT_TRUE(sequence.ok()) << sequence.status();
      core.Add(*std::move(sequence));
    }
    for (int i = 0; i < 10'000 && core.Step(); ++i) {
    }
    if (preemptions != nullptr) *preemptions = core.scheduler().num_preemptions();
    std::vector<Answer> answers;
    for (const auto& sink : sinks) {
      EXPECT_TRUE(sink->status.ok()) << sink->status;
      answers.push_back(sink->Answer());
    }
    return answers;
  }

  TestModel model_;
};

TEST_P(EngineFormats, AloneTogetherPreemptedAndResumed) {
  // Three sequences that grow to 4 blocks each, in a cache of 7.
  std::vector<GenerateRequest> requests;
  std::vector<Answer> alone;
  for (uint32_t i = 0; i < 3; ++i) {
    requests.push_back(TextRequest(70 + i, 50 + i, 170));
    alone.push_back(Run({requests.back()}, 64)[0]);
  }
  EXPECT_EQ(Run(requests, 64), alone);
  int64_t preemptions = 0;
  EXPECT_EQ(Run(requests, 7, &preemptions), alone);
  EXPECT_GT(preemptions, 0);
  for (const size_t cut : {1u, 61u, 169u}) {
    GenerateRequest rest = requests[0];
    for (size_t i = 0; i < cut; ++i) rest.generated_prefix.push_back(alone[0][i].first);
    const Answer expected(alone[0].begin() + static_cast<int64_t>(cut), alone[0].end());
    EXPECT_EQ(Run({rest}, 64)[0], expected) << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EngineFormats,
                         ::testing::Combine(::testing::Values("tiny_mha", "small_mla"),
                                            ::testing::Values("auto", "int8", "int4",
                                                              "int4+language.lm_head"),
                                            ::testing::Values(DType::kF32, DType::kBF16)));

}  // namespace
}  // namespace vl2
