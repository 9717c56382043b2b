// Many requests in a cache and a host memory that are too small for them together, in random order:
// whoever waits, holds or loses what, each gets the answer that it has alone.
#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lm_service/engine/engine_core.h"
#include "runtime/base/status.h"
#include "tests/lm_service/engine/test_model.h"

namespace vl2 {
namespace {

using Answer = std::vector<std::pair<int32_t, float>>;

constexpr int kNumSeeds = 20;
constexpr int kNumRequests = 12;

TestModel& Model() {
  static auto* const model = new TestModel("small_mla", 1);
  return *model;
}

// The embeddings of the picture that a key names.
std::vector<float> EmbeddingsOf(const std::string& key, int64_t count) {
  std::mt19937 random(static_cast<uint32_t>(std::hash<std::string>()(key)));
  std::uniform_real_distribution<float> value(-1.0f, 1.0f);
  std::vector<float> values(static_cast<size_t>(count * Model().language->hidden()));
  std::generate(values.begin(), values.end(), [&] { return value(random); });
  return values;
}

// The part [first, first + count) of a picture.
void Upload(EngineCore& core, uint64_t id, int slot, const ImagePart& image, int64_t first,
            int64_t count) {
  const std::vector<float> all = EmbeddingsOf(image.content_key, image.num_embeddings);
  const int64_t hidden = Model().language->hidden();
  core.AddEmbeddings(id, slot, first, ConstHostMatrix(all.data() + first * hidden, count, hidden));
}

// A request, and what the test knows of it.
struct Asked {
  GenerateRequest request;
  std::vector<ImagePart> images;
  std::shared_ptr<CollectingSink> sink;
  uint64_t id = 0;
  size_t num_heard = 0;                          // of sink->slots_needed
  std::vector<std::pair<int, int64_t>> uploads;  // slot, next embedding; while under way
  bool cancelled = false;
};

class Draw {
 public:
  explicit Draw(uint32_t seed) : random_(seed) {}
  int64_t Up(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool Once(int64_t in) { return Up(1, in) == 1; }

  // Text with one of three beginnings, and up to two of three pictures. Alone it fits `num_blocks`.
  Asked Request(int64_t num_blocks) {
    for (;;) {
      Asked asked;
      GenerateRequest& request = asked.request;
      request.parts.push_back(SomeIds(Up(1, 90), static_cast<uint32_t>(Up(1, 3))));
      for (int64_t i = Up(0, 2); i > 0; --i) {
        const ImagePart image = {.content_key = "key" + std::to_string(Up(0, 2)),
                                 .num_embeddings = 100};
        asked.images.push_back(image);
        request.parts.push_back(image);
        request.parts.push_back(SomeIds(Up(1, 40), static_cast<uint32_t>(Up(1, 9))));
      }
      request.max_new_tokens = Up(1, 140);
      request.num_samples = Once(4) ? 2 : 1;
      // Samples of one request end at different times.
      if (Once(2)) request.stop_token_ids = SomeIds(10, static_cast<uint32_t>(Up(1, 9)));
      request.sampling.temperature = 0.9;
      request.sampling.seed = static_cast<uint64_t>(Up(0, 1000));
      request.sampling.logprobs = true;
      request.ignore_end = true;
      request.client_id = Once(2) ? "greedy" : "client" + std::to_string(Up(1, 3));
      int64_t num_tokens = request.max_new_tokens;
      for (const PromptPart& part : request.parts) {
        const auto* ids = std::get_if<std::vector<int32_t>>(&part);
        num_tokens += ids != nullptr ? static_cast<int64_t>(ids->size())
                                     : std::get<ImagePart>(part).num_embeddings;
      }
      if (BlocksFor(num_tokens + 1) * request.num_samples <= num_blocks) return asked;
    }
  }

 private:
  std::mt19937 random_;
};

void Submit(EngineCore& core, Asked& asked) {
  asked.sink = std::make_shared<CollectingSink>();
  auto sequence = core.MakeSequence(asked.request, asked.sink);
  ASSERT_TRUE(sequence.ok()) << sequence.status();
  asked.id = (*sequence)->id();
  core.Add(*std::move(sequence));
}

// Takes up what the engine asked for, and sends some of it.
void Serve(EngineCore& core, Asked& asked, Draw& draw) {
  for (; asked.num_heard < asked.sink->slots_needed.size(); ++asked.num_heard) {
    asked.uploads.push_back(asked.sink->slots_needed[asked.num_heard]);
  }
  for (auto& [slot, next] : asked.uploads) {
    if (draw.Once(2)) continue;
    const ImagePart& image = asked.images[static_cast<size_t>(slot)];
    const int64_t count = std::min(draw.Up(1, 70), image.num_embeddings - next);
    if (count > 0) Upload(core, asked.id, slot, image, next, count);
    next += count;
  }
}

std::vector<Answer> Answers(const Asked& asked) {
  std::vector<Answer> answers;
  for (int i = 0; i < asked.request.num_samples; ++i) {
    answers.push_back(asked.sink->Answer(static_cast<size_t>(i)));
  }
  return answers;
}

EngineOptions Options(int64_t num_blocks) {
  EngineOptions options;
  options.scheduler.num_blocks = num_blocks;
  options.scheduler.max_batch_tokens = 48;
  options.end_token_id = -1;
  return options;
}

std::vector<Answer> Alone(const Asked& asked) {
  Asked copy = asked;
  EngineCore core(Options(100), *Model().language);
  Submit(core, copy);
  for (size_t i = 0; i < copy.images.size(); ++i) {
    Upload(core, copy.id, static_cast<int>(i), copy.images[i], 0, copy.images[i].num_embeddings);
  }
  while (core.Step()) {
  }
  EXPECT_TRUE(copy.sink->status.ok()) << copy.sink->status;
  return Answers(copy);
}

class EngineStressTest : public ::testing::TestWithParam<int> {};

TEST_P(EngineStressTest, EachAsAlone) {
  Draw draw(static_cast<uint32_t>(GetParam()));
  EngineOptions options = Options(draw.Up(8, 14));
  // Of one picture at a time, or two of one request, or more.
  options.scheduler.max_embedding_bytes = draw.Up(200, 500) * Model().language->hidden() * 4;
  options.scheduler.max_running = draw.Up(2, 12);
  EngineCore core(options, *Model().language);
  std::vector<Asked> all;
  int num_left = 0;
  for (int round = 0; num_left > 0 || static_cast<int>(all.size()) < kNumRequests; ++round) {
    ASSERT_LT(round, 20'000) << num_left << " requests hang: " << core.scheduler().num_running()
                             << " run, " << core.scheduler().num_waiting() << " wait";
    if (static_cast<int>(all.size()) < kNumRequests && draw.Once(3)) {
      Asked asked = draw.Request(options.scheduler.num_blocks);
      Submit(core, asked);
      all.push_back(std::move(asked));
    }
    for (Asked& asked : all) {
      if (asked.sink->num_finished == 0 && draw.Once(400)) {
        asked.cancelled = true;
        core.Cancel(asked.id);
      }
      if (asked.sink->num_finished == 0) Serve(core, asked, draw);
    }
    core.Step();
    num_left = static_cast<int>(std::count_if(
        all.begin(), all.end(), [](const Asked& each) { return each.sink->num_finished == 0; }));
  }
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].sink->num_finished, 1);
    if (all[i].cancelled) continue;
    EXPECT_TRUE(all[i].sink->status.ok()) << i << ": " << all[i].sink->status;
    EXPECT_TRUE(Answers(all[i]) == Alone(all[i])) << i;
  }
  EXPECT_EQ(core.scheduler().num_blocks_in_use(), 0);
  EXPECT_EQ(core.scheduler().reserved_bytes(), 0);
  EXPECT_EQ(core.scheduler().num_running() + core.scheduler().num_waiting(), 0);
  RecordProperty("preemptions", static_cast<int>(core.scheduler().num_preemptions()));
}

INSTANTIATE_TEST_SUITE_P(Seeds, EngineStressTest, ::testing::Range(0, kNumSeeds));

}  // namespace
}  // namespace vl2
