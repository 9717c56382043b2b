// The engine on its thread, under many callers.
#include "lm_service/engine/engine.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"
#include "tests/lm_service/engine/test_model.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

// A CollectingSink that can be waited for.
class WaitingSink : public CollectingSink {
 public:
  void OnFinished(const absl::Status& end, const GenerateStats& end_stats) override {
    CollectingSink::OnFinished(end, end_stats);
    MutexLock lock(&mutex_);
    finished_ = true;
    changed_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(&mutex_);
    while (!finished_) changed_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

EngineOptions Options() {
  EngineOptions options;
  options.scheduler.num_blocks = 200;
  options.end_token_id = -1;
  return options;
}

TEST(Engine, ManyCallersAtOnce) {
  TestModel model("tiny_mha", 2);
  const auto engine = Engine::Start(Options(), *model.language);
  ASSERT_TRUE(engine.ok());
  const auto ask = [&](uint32_t seed) {
    auto sink = std::make_shared<WaitingSink>();
    const auto submitted = (*engine)->Submit(TextRequest(20 + seed % 90, seed, 12), sink);
    VL2_CHECK(submitted.ok()) << submitted.status();
    return std::pair(*submitted, sink);
  };
  std::vector<std::vector<std::pair<int32_t, float>>> alone;
  for (uint32_t seed = 0; seed < 24; ++seed) {
    const auto [submitted, sink] = ask(seed);
    sink->Wait();
    alone.push_back(sink->Answer());
  }
  std::vector<std::thread> callers;
  for (uint32_t caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (uint32_t i = 0; i < 6; ++i) {
        const uint32_t seed = 6 * caller + i;
        const auto [submitted, sink] = ask(seed);
        const auto [cancelled, dropped] = ask(seed + 100);
        (*engine)->Cancel(cancelled.id);
        sink->Wait();
        dropped->Wait();
        EXPECT_EQ(sink->Answer(), alone[seed]) << seed;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  // The snapshot follows the last event by at most one step.
  EngineSnapshot snapshot = (*engine)->snapshot();
  for (int i = 0; i < 200 && snapshot.num_blocks_in_use > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    snapshot = (*engine)->snapshot();
  }
  EXPECT_EQ(snapshot.num_blocks_in_use, 0);
  EXPECT_EQ(snapshot.num_running + snapshot.num_waiting, 0);
}

TEST(Engine, RefusesWhenFullAndAfterStop) {
  TestModel model("tiny_mha");
  EngineOptions options = Options();
  options.max_sequences = 2;
  const auto engine = Engine::Start(options, *model.language);
  ASSERT_TRUE(engine.ok());
  std::vector<std::shared_ptr<WaitingSink>> sinks;
  for (int i = 0; i < 2; ++i) {
    sinks.push_back(std::make_shared<WaitingSink>());
    EXPECT_TRUE((*engine)->Submit(TextRequest(30, 1, 2000), sinks.back()).ok());
  }
  const auto refused =
      (*engine)->Submit(TextRequest(30, 1, 5), std::make_shared<WaitingSink>()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(refused), HasSubstr("2 requests are in the engine, the limit is 2"));
  (*engine)->Stop();
  for (const auto& sink : sinks) {
    sink->Wait();
    EXPECT_EQ(sink->status.code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ((*engine)->Submit(TextRequest(9, 1, 5), sinks[0]).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(Engine, AFullEngineTakesAClientThatHasLess) {
  TestModel model("tiny_mha");
  EngineOptions options = Options();
  options.max_sequences = 6;
  options.scheduler.max_running = 2;
  const auto engine = Engine::Start(options, *model.language);
  ASSERT_TRUE(engine.ok());
  std::vector<std::shared_ptr<WaitingSink>> sinks;
  const auto submit = [&](const std::string& client) {
    // Nothing ends by itself: each waits for a picture that does not come.
    GenerateRequest request = TextRequest(30, 1, 5);
    request.client_id = client;
    request.parts.push_back(ImagePart{.content_key = "", .num_embeddings = 9});
    auto sink = std::make_shared<WaitingSink>();
    const absl::Status status = (*engine)->Submit(request, sink).status();
    if (status.ok()) sinks.push_back(sink);
    return status;
  };
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(submit("greedy").ok());
  EXPECT_EQ(submit("greedy").code(), absl::StatusCode::kResourceExhausted);
  // Others get in while the greedy one has twice what they would have, at the cost of its newest.
  EXPECT_TRUE(submit("other").ok());
  EXPECT_TRUE(submit("another").ok());
  EXPECT_TRUE(submit("other").ok());
  for (const size_t i : {5u, 4u, 3u}) {
    sinks[i]->Wait();
    EXPECT_EQ(sinks[i]->status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(Message(sinks[i]->status), HasSubstr("6 places are taken, most of them by this"));
  }
  EXPECT_EQ(submit("another").code(), absl::StatusCode::kResourceExhausted);  // 3 to its 2
  EXPECT_EQ((*engine)->snapshot().num_displaced, 3);
  (*engine)->Stop();
  for (const size_t i : {0u, 1u, 2u, 6u, 7u, 8u}) {
    sinks[i]->Wait();
    EXPECT_EQ(sinks[i]->status.code(), absl::StatusCode::kUnavailable);
  }
}

// Many clients submit to a full engine whose requests get tokens meanwhile: whoever is in ends
// once, and the engine never holds more than it says for long.
TEST(Engine, DisplacedOrNotEveryRequestEndsOnce) {
  TestModel model("tiny_mha");
  EngineOptions options = Options();
  options.max_sequences = 8;
  options.scheduler.max_running = 3;
  const auto engine = Engine::Start(options, *model.language);
  ASSERT_TRUE(engine.ok());
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (uint32_t i = 0; i < 60; ++i) {
        GenerateRequest request = TextRequest(10 + i, i, 1 + i % 7);
        request.client_id = caller < 2 ? "greedy" : "client" + std::to_string(caller);
        auto sink = std::make_shared<WaitingSink>();
        if (!(*engine)->Submit(request, sink).ok()) continue;
        if (caller >= 2 || i % 8 == 0) sink->Wait();
        if (caller >= 2) {
          EXPECT_TRUE(sink->status.ok()) << sink->status;
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  (*engine)->Stop();
  const EngineSnapshot snapshot = (*engine)->snapshot();
  EXPECT_GT(snapshot.num_generated_tokens, 0);
}

TEST(Engine, ChecksUploads) {
  TestModel model("tiny_mha");
  const auto engine = Engine::Start(Options(), *model.language);
  GenerateRequest request = TextRequest(10, 1, 4);
  request.parts.push_back(ImagePart{.content_key = "", .num_embeddings = 20});
  const auto sink = std::make_shared<WaitingSink>();
  const uint64_t id = (*engine)->Submit(request, sink)->id;
  const auto upload = [&](uint64_t to, int slot, int64_t first, size_t num_values) {
    return (*engine)->AddEmbeddings(to, slot, first, std::vector<float>(num_values, 0.5f));
  };
  EXPECT_EQ(upload(id + 1, 0, 0, 128).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(upload(id, 1, 0, 128)), HasSubstr("slot 1 of a sequence with 1 pictures"));
  EXPECT_THAT(Message(upload(id, -1, 0, 128)), HasSubstr("slot -1"));
  EXPECT_THAT(Message(upload(id, 0, 0, 100)), HasSubstr("100 values are no whole embeddings"));
  EXPECT_THAT(Message(upload(id, 0, 0, 0)), HasSubstr("no whole embeddings"));
  EXPECT_THAT(Message(upload(id, 0, 19, 256)), HasSubstr("19 to 19 + 2 of a picture that has 20"));
  EXPECT_THAT(Message(upload(id, 0, -1, 128)), HasSubstr("-1"));
  EXPECT_THAT(Message(upload(id, 0, INT64_MAX, 128)), HasSubstr("that has 20"));
  EXPECT_TRUE(upload(id, 0, 0, 20 * 128).ok());
  sink->Wait();
  EXPECT_TRUE(sink->status.ok()) << sink->status;
  EXPECT_EQ(upload(id, 0, 0, 128).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace vl2
