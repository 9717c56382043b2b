#include "lm_service/sampling/sampler.h"

#include <cmath>
#include <limits>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lm_service/sampling/philox.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every transformation off.
SamplingParams Plain() {
  SamplingParams params;
  params.temperature = 1;
  params.top_k = 0;
  params.top_p = 1;
  params.repetition_penalty = 1;
  return params;
}

std::vector<float> RandomLogits(size_t count, uint32_t seed, float spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// The definition, on the whole vocabulary with a full sort.
std::vector<Sampler::Candidate> SlowDistribution(const std::vector<float>& logits,
                                                 const SamplingParams& params) {
  std::vector<Sampler::Candidate> words;
  for (size_t id = 0; id < logits.size(); ++id) {
    const auto logit = static_cast<float>(double{logits[id]} / params.temperature);
    words.push_back({static_cast<int32_t>(id), logit, 0});
  }
  std::stable_sort(words.begin(), words.end(),
                   [](const auto& a, const auto& b) { return a.logit > b.logit; });
  const auto k = static_cast<size_t>(params.top_k);
  if (k > 0 && k < words.size()) {
    const float kth = words[k - 1].logit;
    std::erase_if(words, [&](const auto& word) { return word.logit < kth; });
  }
  const auto normalize = [&] {
    double total = 0;
    for (const auto& word : words) total += std::exp(double{word.logit} - double{words[0].logit});
    for (auto& word : words) {
      word.probability = std::exp(double{word.logit} - double{words[0].logit}) / total;
    }
  };
  normalize();
  double above = 0;
  size_t kept = 0;
  while (kept < words.size() && (kept == 0 || above < params.top_p || params.top_p == 1)) {
    above += words[kept++].probability;
  }
  words.resize(kept);
  const double largest = words[0].probability;
  std::erase_if(words, [&](const auto& word) { return word.probability < params.min_p * largest; });
  normalize();
  return words;
}

TEST(Philox, KnownAnswers) {
  // Of the reference implementation that came with the paper.
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  const uint32_t ones = UINT32_MAX;
  EXPECT_THAT(Philox4x32({ones, ones, ones, ones}, {ones, ones}),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(
      Philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
      ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

TEST(Philox, UniformNumbersDependOnAllOfTheirName) {
  EXPECT_EQ(UniformAt(1, 2, 3), UniformAt(1, 2, 3));
  EXPECT_NE(UniformAt(1, 2, 3), UniformAt(1ull << 32 | 1, 2, 3));
  EXPECT_NE(UniformAt(1, 2, 3), UniformAt(1, 3, 3));
  EXPECT_NE(UniformAt(1, 2, 3), UniformAt(1, 2, 1ull << 32 | 3));
  constexpr uint64_t kCount = 1'000'000;
  double sum = 0;
  double sum_of_squares = 0;
  for (uint64_t position = 0; position < kCount; ++position) {
    const double value = UniformAt(7, 0, position);
    ASSERT_TRUE(value >= 0 && value < 1);
    sum += value;
    sum_of_squares += value * value;
  }
  // Five standard deviations.
  EXPECT_NEAR(sum / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(sum_of_squares / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
}

TEST(LogitScan, TopKAgreesWithSorting) {
  for (const size_t count : {1u, 7u, 63u, 64u, 65u, 1000u, 4096u, 5003u}) {
    std::vector<float> logits = RandomLogits(count, static_cast<uint32_t>(count));
    // Ties.
    for (size_t i = 0; i + 3 < count; i += 7) logits[i] = logits[i + 3];
    LogitMaxima maxima;
    FindMaxima(logits, maxima);
    std::vector<float> sorted = logits;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    EXPECT_EQ(maxima.max, sorted[0]);
    std::vector<float> values;
    std::vector<int32_t> ids;
    for (const size_t k : {size_t{1}, size_t{2}, size_t{50}, count / 3 + 1, count}) {
      if (k > count) continue;
      FindTopK(logits, maxima, k, values, ids);
      std::vector<int32_t> expected;
      for (size_t id = 0; id < count; ++id) {
        if (logits[id] >= sorted[k - 1]) expected.push_back(static_cast<int32_t>(id));
      }
      ASSERT_EQ(ids, expected) << count << " " << k;
    }
  }
}

TEST(LogitScan, ExpWeights) {
  std::vector<float> logits = {0, -1e-3f, -0.3f, -1, -5.5f, -20, -86.9f, -88, -1e30f, -kInfinity};
  for (int i = 0; i < 500; ++i) logits.push_back(-0.17f * static_cast<float>(i));
  std::vector<float> weights;
  std::vector<double> sums;
  double expected_total = 0;
  const double total = ExpWeights(logits, 0, 1, weights, sums);
  for (size_t i = 0; i < logits.size(); ++i) {
    const double expected = std::exp(double{logits[i]});
    expected_total += expected;
    if (logits[i] >= -87) {
      ASSERT_NEAR(double{weights[i]} / expected, 1.0, 3e-7) << logits[i];
    } else {
      ASSERT_EQ(weights[i], 0.0f);
    }
  }
  EXPECT_NEAR(total / expected_total, 1.0, 1e-7);
  EXPECT_EQ(sums.size(), (logits.size() + kLogitBlock - 1) / kLogitBlock);
}

TEST(Sampler, DistributionAgreesWithTheDefinition) {
  Sampler sampler;
  const TokenHistory history;
  for (const size_t count : {1u, 5u, 64u, 1000u, 10'000u}) {
    for (const float spread : {0.01f, 1.0f, 6.0f}) {
      std::vector<float> logits = RandomLogits(count, 17, spread);
      for (const int64_t top_k : {0, 1, 50, 5000, 100'000}) {
        for (const double top_p : {0.1, 0.9, 1.0}) {
          for (const double min_p : {0.0, 0.05, 1.0}) {
            SamplingParams params = Plain();
            params.temperature = 0.7;
            params.top_k = top_k;
            params.top_p = top_p;
            params.min_p = min_p;
            const auto actual = sampler.Distribution(logits, params, history).value();
            const auto expected = SlowDistribution(logits, params);
            ASSERT_EQ(actual.size(), expected.size())
                << count << " " << spread << " " << top_k << " " << top_p << " " << min_p;
            for (size_t i = 0; i < actual.size(); ++i) {
              ASSERT_NEAR(actual[i].probability, expected[i].probability, 1e-6);
              ASSERT_NEAR(actual[i].logit, expected[i].logit, 1e-5);
            }
          }
        }
      }
    }
  }
}

// Chi-squared of 20,000 draws, for each of the ways a token is drawn.
TEST(Sampler, DrawsFollowTheDistribution) {
  Sampler sampler;
  const TokenHistory history;
  std::vector<float> logits = RandomLogits(300, 23, 1.0f);
  constexpr int kDraws = 20'000;
  for (const int way : {0, 1, 2, 3}) {
    SamplingParams params = Plain();
    if (way == 1) params.top_k = 20;
    if (way == 2) params.top_p = 0.5;
    if (way == 3) params.min_p = 0.2;
    params.seed = 99;
    std::vector<int> counts(logits.size(), 0);
    for (int draw = 0; draw < kDraws; ++draw) {
      const auto token =
          sampler.Sample(logits, params, history, 0, static_cast<uint64_t>(draw)).value();
      ++counts[static_cast<size_t>(token.id)];
    }
    double chi_squared = 0;
    int num_drawn = 0;
    const auto candidates = sampler.Distribution(logits, params, history).value();
    for (const auto& candidate : candidates) {
      const double expected = candidate.probability * kDraws;
      const int count = counts[static_cast<size_t>(candidate.id)];
      chi_squared += (count - expected) * (count - expected) / expected;
      num_drawn += count;
    }
    EXPECT_EQ(num_drawn, kDraws) << "a word outside the distribution was drawn";
    const auto freedom = static_cast<double>(candidates.size() - 1);
    EXPECT_LT(std::abs(chi_squared - freedom), 5 * std::sqrt(2 * freedom)) << way;
  }
}

TEST(Sampler, ChoicesDependOnSeedSampleAndPositionOnly) {
  std::vector<float> logits = RandomLogits(1000, 1, 1.0f);
  const TokenHistory history;
  SamplingParams params = Plain();
  const auto draw = [&](uint64_t seed, uint32_t sample, uint64_t position) {
    Sampler sampler;  // no state is carried from call to call
    params.seed = seed;
    return sampler.Sample(logits, params, history, sample, position)->id;
  };
  Sampler used;
  int differences = 0;
  for (uint64_t position = 0; position < 50; ++position) {
    params.seed = 5;
    EXPECT_EQ(draw(5, 0, position), used.Sample(logits, params, history, 0, position)->id);
    differences += draw(5, 0, position) != draw(6, 0, position) ? 1 : 0;
    differences += draw(5, 0, position) != draw(5, 1, position) ? 1 : 0;
    differences += draw(5, 0, position) != draw(5, 0, position + 1) ? 1 : 0;
  }
  EXPECT_GT(differences, 120);
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler sampler;
  std::vector<float> logits(500, -1.0f);
  logits[130] = logits[131] = logits[400] = 2.5f;
  SamplingParams params = Plain();
  for (const double temperature : {0.0, 1e-6}) {
    params.temperature = temperature;
    EXPECT_EQ(sampler.Sample(logits, params, {}, 0, 0)->id, 130);
  }
  params.logit_bias = {{130, -1}, {499, 3.6}};
  EXPECT_EQ(sampler.Sample(logits, params, {}, 0, 0)->id, 499 /* 2.6 */);
  params.top_k = 50;
  EXPECT_THAT(sampler.Distribution(logits, params, {}).value(), ::testing::SizeIs(1));
}

TEST(Sampler, TopKKeepsTiesAndTopPTheLowerIds) {
  Sampler sampler;
  std::vector<float> logits = {1, 2, 1, 0, 1};
  SamplingParams params = Plain();
  params.top_k = 2;
  const auto ids = [&] {
    std::vector<int32_t> list;
    const auto candidates = sampler.Distribution(logits, params, {}).value();
    for (const auto& candidate : candidates) {
      list.push_back(candidate.id);
    }
    return list;
  };
  EXPECT_THAT(ids(), ElementsAre(1, 0, 2, 4));
  params.top_k = 0;
  params.top_p = 0.7;  // 0.44, then 0.16 each
  EXPECT_THAT(ids(), ElementsAre(1, 0, 2));
  params.top_p = 1e-9;
  EXPECT_THAT(ids(), ElementsAre(1));
}

TEST(Sampler, Penalties) {
  Sampler sampler;
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>{0, 1, 1, 1});
  history.AddGenerated(1);
  history.AddGenerated(2);
  history.AddGenerated(2);
  std::vector<float> logits = {4, -4, 4, 4};
  SamplingParams params = Plain();
  const auto processed = [&] {
    std::vector<float> list(4);
    const auto candidates = sampler.Distribution(logits, params, history).value();
    for (const auto& candidate : candidates) {
      list[static_cast<size_t>(candidate.id)] = candidate.logit;
    }
    return list;
  };
  EXPECT_THAT(processed(), ElementsAre(4, -4, 4, 4));
  params.repetition_penalty = 2;  // prompt and answer, once each
  EXPECT_THAT(processed(), ElementsAre(2, -8, 2, 4));
  params.presence_penalty = 0.5;  // answer only
  EXPECT_THAT(processed(), ElementsAre(2, -8.5, 1.5, 4));
  params.frequency_penalty = 0.25;
  EXPECT_THAT(processed(), ElementsAre(2, -8.75, 1, 4));
  params.logit_bias = {{0, -5}, {3, 1}};  // before the penalties
  EXPECT_THAT(processed(), ElementsAre(-2, -8.75, 1, 5));
  params.temperature = 2;
  EXPECT_THAT(processed(), ElementsAre(-1, -4.375, 0.5, 2.5));
  EXPECT_THAT(logits, ElementsAre(4, -4, 4, 4));
}

TEST(Sampler, LogprobsAreThoseOfTheRawLogits) {
  Sampler sampler;
  std::vector<float> logits = RandomLogits(5000, 3, 2.0f);
  logits[77] = logits[78] = 12;
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{77, -100}, {78, -100}, {4000, 30}};
  params.logprobs = true;
  params.top_logprobs = 20;
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>{77, 4000});
  const SampledToken token = sampler.Sample(logits, params, history, 0, 0).value();
  EXPECT_EQ(token.id, 4000);
  EXPECT_NEAR(token.logprob, double{logits[4000]} - std::log(sum), 1e-5);
  ASSERT_EQ(token.top_logprobs.size(), 20u);
  EXPECT_EQ(token.top_logprobs[0].id, 77);
  EXPECT_EQ(token.top_logprobs[1].id, 78);
  EXPECT_NEAR(token.top_logprobs[0].logprob, 12 - std::log(sum), 1e-5);
  for (size_t i = 1; i < 20; ++i) {
    EXPECT_LE(token.top_logprobs[i].logprob, token.top_logprobs[i - 1].logprob);
  }
  params.top_logprobs = 1;
  EXPECT_EQ(sampler.Sample(logits, params, history, 0, 0)->top_logprobs.size(), 1u);
}

TEST(Sampler, BadLogitsAreErrors) {
  Sampler sampler;
  const SamplingParams params;
  const auto message = [&](std::vector<float> logits) {
    return Message(sampler.Sample(logits, params, {}, 0, 0).status());
  };
  EXPECT_THAT(message({}), HasSubstr("no logits"));
  EXPECT_THAT(message({1, NAN, 2}), HasSubstr("NaN"));
  EXPECT_THAT(message({1, kInfinity}), HasSubstr("infinity"));
  EXPECT_THAT(message({-kInfinity, -kInfinity}), HasSubstr("all logits"));
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>{2});
  std::vector<float> logits = {1, 2};
  EXPECT_THAT(Message(sampler.Sample(logits, params, history, 0, 0).status()),
              HasSubstr("token 2, the vocabulary has 2"));
}

TEST(Sampler, MinusInfinityIsNeverChosen) {
  Sampler sampler;
  std::vector<float> logits(200, -kInfinity);
  logits[150] = -3;
  for (const int way : {0, 1, 2, 3}) {
    SamplingParams params = Plain();
    if (way == 1) params.top_k = 20;
    if (way == 2) params.top_p = 0.5;
    if (way == 3) params.min_p = 1e-300;
    for (uint64_t position = 0; position < 50; ++position) {
      EXPECT_EQ(sampler.Sample(logits, params, {}, 0, position)->id, 150);
    }
    EXPECT_EQ(sampler.Distribution(logits, params, {})->size(), 1u);
  }
}

// Both ends of every documented range are accepted and give a token.
TEST(SamplingParams, EndsOfRanges) {
  Sampler sampler;
  const std::vector<float> before = RandomLogits(3000, 4);
  TokenHistory history;
  history.AddPrompt(std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7});
  for (const int32_t id : {1, 2, 2, 3}) history.AddGenerated(id);
  const auto sample = [&](auto change) {
    std::vector<float> logits = before;
    logits[7] = -kInfinity;  // never, whatever the penalties do
    SamplingParams params;
    change(params);
    EXPECT_TRUE(params.Validate(3000).ok()) << params.Validate(3000);
    const auto token = sampler.Sample(logits, params, history, 0, 3);
    EXPECT_TRUE(token.ok()) << token.status() << " for repetition penalty "
                            << params.repetition_penalty;
    if (!token.ok()) return -1;
    EXPECT_NE(token->id, 7);
    return token->id;
  };
  const int32_t likeliest = sample([](auto& p) { p.temperature = 0; });
  sample([](auto& p) { p.temperature = 10; });
  sample([](auto& p) { p.top_k = 0; });
  sample([](auto& p) { p.top_k = INT64_MAX; });
  for (const int64_t top_k : {0, 1, 50, 2999, 3000}) {
    EXPECT_EQ(sample([&](auto& p) { p.top_p = 0, p.top_k = top_k; }), likeliest) << top_k;
    sample([&](auto& p) { p.top_p = 1, p.top_k = top_k; });
    EXPECT_EQ(sample([&](auto& p) { p.min_p = 1, p.top_k = top_k; }), likeliest) << top_k;
    sample([&](auto& p) { p.min_p = 0, p.top_k = top_k; });
  }
  for (const double penalty : {1e-320, 1e-40, 1e-30, 1e-3, 10.0}) {
    for (const double temperature : {0.0, 0.4, 10.0}) {
      sample([&](auto& p) { p.repetition_penalty = penalty, p.temperature = temperature; });
      sample([&](auto& p) { p.repetition_penalty = penalty, p.top_k = 0, p.top_p = 1; });
    }
  }
  for (const double penalty : {-2.0, 2.0}) {
    sample([&](auto& p) { p.presence_penalty = penalty, p.frequency_penalty = -penalty; });
    sample([&](auto& p) { p.presence_penalty = penalty, p.frequency_penalty = penalty; });
  }
  EXPECT_EQ(sample([](auto& p) { p.logit_bias = {{99, 100}}, p.temperature = 0; }), 99);
  EXPECT_NE(sample([&](auto& p) { p.logit_bias = {{likeliest, -100}}; }), likeliest);
  sample([](auto& p) { p.logprobs = true, p.top_logprobs = 0; });
  sample([](auto& p) { p.logprobs = true, p.top_logprobs = 20; });
  sample([](auto& p) { p.seed = UINT64_MAX; });
}

TEST(Sampler, TopPOfZeroIsGreedyAlsoAmongEquals) {
  Sampler sampler;
  SamplingParams params = Plain();
  params.top_p = 0;
  for (const size_t count : {5u, 300u, 5000u}) {
    std::vector<float> logits(count, 1.0f);
    for (uint64_t position = 0; position < 20; ++position) {
      EXPECT_EQ(sampler.Sample(logits, params, {}, 0, position)->id, 0) << count;
    }
    EXPECT_EQ(sampler.Distribution(logits, params, {})->size(), 1u);
  }
}

TEST(SamplingParams, RangesAreNamed) {
  const auto refusal = [](auto change) {
    SamplingParams params;
    change(params);
    return Message(params.Validate(100));
  };
  EXPECT_EQ(refusal([](SamplingParams&) {}), "");
  EXPECT_THAT(refusal([](auto& p) { p.temperature = -0.1; }),
              HasSubstr("temperature: -0.1 is outside [0, 10]"));
  EXPECT_THAT(refusal([](auto& p) { p.temperature = NAN; }), HasSubstr("temperature"));
  EXPECT_THAT(refusal([](auto& p) { p.top_p = -0.1; }), HasSubstr("top_p: -0.1 is outside [0, 1]"));
  EXPECT_THAT(refusal([](auto& p) { p.top_p = NAN; }), HasSubstr("top_p"));
  EXPECT_THAT(refusal([](auto& p) { p.min_p = 1.5; }), HasSubstr("min_p"));
  EXPECT_THAT(refusal([](auto& p) { p.top_k = -1; }), HasSubstr("top_k: -1"));
  EXPECT_THAT(refusal([](auto& p) { p.repetition_penalty = 0; }), HasSubstr("repetition_penalty"));
  EXPECT_THAT(refusal([](auto& p) { p.presence_penalty = 3; }),
              HasSubstr("presence_penalty: 3 is outside [-2, 2]"));
  EXPECT_THAT(refusal([](auto& p) { p.frequency_penalty = -3; }), HasSubstr("frequency_penalty"));
  EXPECT_THAT(refusal([](auto& p) { p.logprobs = true, p.top_logprobs = 21; }),
              HasSubstr("top_logprobs: 21"));
  EXPECT_THAT(refusal([](auto& p) { p.top_logprobs = 2; }), HasSubstr("needs logprobs"));
  EXPECT_THAT(refusal([](auto& p) {
                p.logit_bias = {{100, 1}};
              }),
              HasSubstr("token 100 is outside [0, 100)"));
  EXPECT_THAT(refusal([](auto& p) { p.logit_bias = {{1, 101}}; }), HasSubstr("logit_bias: 101"));
  EXPECT_THAT(refusal([](auto& p) { p.logit_bias = {{1, 1}, {1, 2}}; }), HasSubstr("twice"));
  EXPECT_THAT(refusal([](auto& p) { p.logit_bias.resize(2000); }), HasSubstr("2000 entries"));
}

}  // namespace
}  // namespace vl2
