// sampler/sampler.json and sampler.safetensors: distributions of the transformers 4.38 rules.
#include <cstdlib>
#include <cstring>

#include "gtest/gtest.h"
#include "lm_service/sampling/sampler.h"
#include "runtime/base/json.h"
#include "runtime/checkpoint/safetensors.h"

namespace vl2 {
namespace {

constexpr double kTolerance = 1e-5;
constexpr float kRemoved = -1e30f;

// VL2_GOLDEN_DATA names golden data that is not part of the repository.
std::string GoldenPath(const std::string& path) {
  const char* root = std::getenv("VL2_GOLDEN_DATA");
  return (root != nullptr ? std::string(root) : std::string(VL2_TEST_DATA) + "/golden/data") + "/" +
         path;
}

// A copy: tensors in a file need not be aligned.
template <typename T>
std::vector<T> Read(const SafetensorsFile& file, const std::string& name) {
  const TensorView view = file.Find(name).value();
  EXPECT_EQ(view.dtype, DTypeOf<T>()) << name;
  std::vector<T> values(static_cast<size_t>(view.shape.num_elements()));
  std::memcpy(values.data(), view.bytes, view.num_bytes());
  return values;
}

TEST(SamplerGolden, DistributionsAgree) {
  const Json cases = ParseJsonFile(GoldenPath("sampler/sampler.json")).value();
  const auto file = SafetensorsFile::Open(GoldenPath("sampler/sampler.safetensors")).value();
  ASSERT_FALSE(cases.empty());
  Sampler sampler;
  for (const Json& golden : cases) {
    const std::string name = golden["case"].dump();
    SamplingParams params;
    params.repetition_penalty = golden["repetition_penalty"];
    params.temperature = golden["temperature"];
    params.top_k = golden["top_k"];
    params.top_p = golden["top_p"];
    std::vector<float> logits = Read<float>(*file, name + ".logits");
    ASSERT_TRUE(params.Validate(static_cast<int64_t>(logits.size())).ok());
    // Which ids are prompt and which answer makes no difference to these parameters.
    TokenHistory history;
    for (const int64_t id : Read<int64_t>(*file, name + ".input_ids")) {
      history.AddPrompt(std::vector<int32_t>{static_cast<int32_t>(id)});
    }
    const auto candidates = sampler.Distribution(logits, params, history);
    ASSERT_TRUE(candidates.ok()) << candidates.status();
    EXPECT_EQ(candidates->size(), golden["kept"].get<size_t>()) << name;
    EXPECT_EQ(candidates->front().id, golden["argmax"].get<int32_t>()) << name;

    std::vector<float> processed(logits.size(), kRemoved);
    std::vector<double> probabilities(logits.size(), 0);
    for (const Sampler::Candidate& candidate : *candidates) {
      processed[static_cast<size_t>(candidate.id)] = candidate.logit;
      probabilities[static_cast<size_t>(candidate.id)] = candidate.probability;
    }
    const auto expected = Read<float>(*file, name + ".processed");
    const auto expected_probabilities = Read<float>(*file, name + ".probs");
    for (size_t id = 0; id < logits.size(); ++id) {
      ASSERT_NEAR(processed[id], expected[id], kTolerance) << name << " word " << id;
      ASSERT_NEAR(probabilities[id], double{expected_probabilities[id]}, kTolerance) << name;
    }
    EXPECT_EQ(logits, Read<float>(*file, name + ".logits")) << "logits are as before";
  }
}

}  // namespace
}  // namespace vl2
