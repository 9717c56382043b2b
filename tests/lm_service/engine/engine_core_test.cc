#include "lm_service/engine/engine_core.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/cases/test_device.h"
#include "tests/lm_service/engine/test_model.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Answer = std::vector<std::pair<int32_t, float>>;

TestModel& Model() {
  static auto* const model = new TestModel("base_noaux", 2);
  return *model;
}

EngineOptions Options(int64_t num_blocks = 64) {
  EngineOptions options;
  options.scheduler.num_blocks = num_blocks;
  options.scheduler.max_batch_tokens = 48;  // prompts run in several chunks
  options.end_token_id = -1;
  return options;
}

class EngineCoreTest : public ::testing::Test {
 protected:
  // Submits to `core`; the sink, and the id through `id`.
  static std::shared_ptr<CollectingSink> Submit(EngineCore& core, GenerateRequest request,
                                                uint64_t* id = nullptr) {
    auto sink = std::make_shared<CollectingSink>();
    auto sequence = core.MakeSequence(std::move(request), sink);
    VL2_CHECK(sequence.ok()) << sequence.status();
    if (id != nullptr) *id = (*sequence)->id();
    core.Add(*std::move(sequence));
    return sink;
  }
  static void RunAll(EngineCore& core) {
    for (int i = 0; i < 10'000 && core.Step(); ++i) {
    }
  }
  static Answer Alone(const GenerateRequest& request) {
    EngineCore core(Options(), *Model().language);
    const auto sink = Submit(core, request);
    RunAll(core);
    EXPECT_TRUE(sink->status.ok()) << sink->status;
    return sink->Answer();
  }
  static std::string Error(const GenerateRequest& request, int64_t num_blocks = 64) {
    EngineCore core(Options(num_blocks), *Model().language);
    const auto sequence = core.MakeSequence(request, std::make_shared<CollectingSink>());
    return sequence.ok() ? "accepted" : Message(sequence.status());
  }
};

TEST_F(EngineCoreTest, TogetherAsAlone) {
  std::vector<GenerateRequest> requests;
  for (uint32_t i = 0; i < 9; ++i) requests.push_back(TextRequest(20 + 31 * i, i, 5 + 7 * i));
  EngineCore core(Options(200), *Model().language);
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const GenerateRequest& request : requests) {
    sinks.push_back(Submit(core, request));
    core.Step();  // they come one after the other, into running steps
  }
  RunAll(core);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(sinks[i]->status.ok());
    EXPECT_EQ(sinks[i]->Answer(), Alone(requests[i])) << i;
    EXPECT_THAT(sinks[i]->reasons, ElementsAre(FinishReason::kLength));
  }
  EXPECT_EQ(core.scheduler().num_blocks_in_use(), 0);
}

TEST_F(EngineCoreTest, PreemptionChangesNothing) {
  // Three sequences that grow to 4 blocks each, in a cache of 7.
  std::vector<GenerateRequest> requests;
  for (uint32_t i = 0; i < 3; ++i) requests.push_back(TextRequest(70 + i, 50 + i, 170));
  EngineCore core(Options(7), *Model().language);
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const GenerateRequest& request : requests) sinks.push_back(Submit(core, request));
  RunAll(core);
  EXPECT_GT(core.scheduler().num_preemptions(), 0);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(sinks[i]->status.ok()) << sinks[i]->status;
    EXPECT_EQ(sinks[i]->Answer(), Alone(requests[i])) << i;
  }
  EXPECT_EQ(core.scheduler().num_blocks_in_use(), 0);
}

TEST_F(EngineCoreTest, APrefixGoesOnAsAnUnbrokenRun) {
  const GenerateRequest request = TextRequest(100, 7, 40);
  const Answer whole = Alone(request);
  for (const size_t cut : {1u, 13u, 39u}) {
    GenerateRequest rest = request;
    for (size_t i = 0; i < cut; ++i) rest.generated_prefix.push_back(whole[i].first);
    const Answer expected(whole.begin() + static_cast<int64_t>(cut), whole.end());
    EXPECT_EQ(Alone(rest), expected) << cut;
  }
}

TEST_F(EngineCoreTest, SamplesDrawWithTheirOwnSeeds) {
  GenerateRequest request = TextRequest(75, 11, 20);  // ends inside a block: samples copy it
  request.num_samples = 3;
  EngineCore core(Options(), *Model().language);
  const auto sink = Submit(core, request);
  RunAll(core);
  request.num_samples = 1;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sink->Answer(i), Alone(request)) << i;
    ++request.sampling.seed;
  }
  EXPECT_NE(sink->Answer(0), sink->Answer(1));
  EXPECT_EQ(core.scheduler().num_blocks_in_use(), 0);
}

TEST_F(EngineCoreTest, ASecondRequestFindsItsPrefix) {
  const GenerateRequest request = TextRequest(200, 3, 10);
  EngineCore core(Options(), *Model().language);
  const auto first = Submit(core, request);
  RunAll(core);
  const auto second = Submit(core, request);
  RunAll(core);
  EXPECT_EQ(first->stats.cached_tokens, 0);
  EXPECT_EQ(second->stats.cached_tokens, 192);
  EXPECT_EQ(second->Answer(), first->Answer());
  // Another salt shares nothing; a prompt of whole blocks computes its last one again.
  GenerateRequest salted = request;
  salted.cache_salt = "tenant";
  const auto third = Submit(core, salted);
  RunAll(core);
  EXPECT_EQ(third->stats.cached_tokens, 0);
  EXPECT_EQ(third->Answer(), first->Answer());
  GenerateRequest blocks = TextRequest(128, 4, 4);
  Submit(core, blocks);
  RunAll(core);
  const auto again = Submit(core, blocks);
  RunAll(core);
  EXPECT_EQ(again->stats.cached_tokens, 64);
}

// A prompt of text, a picture of `count` embeddings, text.
GenerateRequest PictureRequest(int64_t count, const std::string& key) {
  GenerateRequest request = TextRequest(0, 21, 12);
  request.parts = {SomeIds(30, 1), ImagePart{.content_key = key, .num_embeddings = count},
                   SomeIds(9, 2)};
  request.image_token_id = 510;
  return request;
}

std::vector<float> SomeEmbeddings(int64_t count) {
  std::vector<float> values;
  uint32_t seed = 99;
  for (int64_t i = 0; i < count * 128; ++i) {
    seed = seed * 1664525u + 1013904223u;
    values.push_back(static_cast<float>(seed >> 8) / 8388608.0f - 1.0f);
  }
  return values;
}

void Upload(EngineCore& core, uint64_t id, const std::vector<float>& all, int64_t first,
            int64_t count) {
  core.AddEmbeddings(id, 0, first, ConstHostMatrix(all.data() + first * 128, count, 128));
}

TEST_F(EngineCoreTest, PrefillFollowsTheEmbeddingsThatArrived) {
  const std::vector<float> all = SomeEmbeddings(150);
  EngineCore core(Options(), *Model().language);
  uint64_t id = 0;
  const auto whole = Submit(core, PictureRequest(150, ""), &id);
  EXPECT_THAT(whole->slots_needed, ElementsAre(Pair(0, 0)));
  Upload(core, id, all, 0, 150);
  RunAll(core);
  ASSERT_TRUE(whole->status.ok());

  const auto pieces = Submit(core, PictureRequest(150, ""), &id);
  EXPECT_TRUE(core.Step());  // the text before the picture
  EXPECT_FALSE(core.Step());
  Upload(core, id, all, 100, 50);  // out of order
  EXPECT_FALSE(core.Step());
  Upload(core, id, all, 0, 60);
  EXPECT_TRUE(core.Step());
  Upload(core, id, SomeEmbeddings(150), 0, 60);  // a repeat
  Upload(core, id, all, 60, 40);
  RunAll(core);
  EXPECT_TRUE(pieces->status.ok());
  EXPECT_EQ(pieces->Answer(), whole->Answer());
}

// As on a GPU: only operations touch the device's memory.
TEST_F(EngineCoreTest, NeedsNoMemoryThatTheHostMayRead) {
  const std::vector<float> all = SomeEmbeddings(150);
  const auto run = [&](LanguageModel& model) {
    EngineCore core(Options(), model);
    uint64_t id = 0;
    GenerateRequest request = PictureRequest(150, "");
    request.num_samples = 2;  // they share a block, which is copied
    request.sampling.temperature = 1;
    const auto sink = Submit(core, request, &id);
    Upload(core, id, all, 0, 150);
    RunAll(core);
    EXPECT_TRUE(sink->status.ok()) << sink->status;
    return std::pair(sink->Answer(0), sink->Answer(1));
  };
  TestDevice device(TestDevice::Access::kInsideOperations);
  GuardedOps ops(MakeCpuOps(&Model().pool, device), device);
  const auto model = LanguageModel::Load(*Model().checkpoint, ops);
  EXPECT_EQ(run(*model), run(*Model().language));
}

TEST_F(EngineCoreTest, AKnownPictureIsNotAskedForAgain) {
  const std::vector<float> all = SomeEmbeddings(150);
  EngineCore core(Options(), *Model().language);
  uint64_t id = 0;
  const auto first = Submit(core, PictureRequest(150, "key"), &id);
  Upload(core, id, all, 0, 150);
  RunAll(core);
  // 189 prompt tokens: two blocks are cached, of the picture all but 150 - (128 - 30).
  const auto second = Submit(core, PictureRequest(150, "key"), &id);
  EXPECT_THAT(second->slots_needed, ElementsAre(Pair(0, 98)));
  Upload(core, id, all, 98, 52);
  RunAll(core);
  EXPECT_EQ(second->stats.cached_tokens, 128);
  EXPECT_EQ(second->Answer(), first->Answer());
  // Another picture in the same place shares the text before it only, less than a block.
  const auto other = Submit(core, PictureRequest(150, "other"), &id);
  EXPECT_THAT(other->slots_needed, ElementsAre(Pair(0, 0)));
}

TEST_F(EngineCoreTest, PreemptedPicturesNeedNoOneElse) {
  const std::vector<float> all = SomeEmbeddings(150);
  EngineCore core(Options(7), *Model().language);
  uint64_t picture_id = 0;
  const auto text = Submit(core, TextRequest(60, 5, 300));
  GenerateRequest request = PictureRequest(150, "key");
  request.max_new_tokens = 100;
  const auto picture = Submit(core, request, &picture_id);
  Upload(core, picture_id, all, 0, 150);
  RunAll(core);
  EXPECT_GT(core.scheduler().num_preemptions(), 0);
  EXPECT_TRUE(picture->status.ok()) << picture->status;
  EXPECT_THAT(picture->slots_needed, ElementsAre(Pair(0, 0)));
  EXPECT_EQ(text->Answer(), Alone(TextRequest(60, 5, 300)));
  EngineCore roomy(Options(), *Model().language);
  const auto alone = Submit(roomy, request, &picture_id);
  Upload(roomy, picture_id, all, 0, 150);
  RunAll(roomy);
  EXPECT_EQ(picture->Answer(), alone->Answer());
}

TEST_F(EngineCoreTest, OneRequestBesideTwoHundredOfAnotherClient) {
  const GenerateRequest one = TextRequest(60, 999, 6);
  int num_alone = 0;
  {
    EngineCore core(Options(), *Model().language);
    const auto sink = Submit(core, one);
    while (sink->Answer().empty() && core.Step()) ++num_alone;
  }
  EngineOptions options = Options(100);
  options.scheduler.max_running = 16;
  EngineCore core(options, *Model().language);
  std::vector<std::shared_ptr<CollectingSink>> greedy;
  for (uint32_t i = 0; i < 200; ++i) {
    GenerateRequest request = TextRequest(20 + i % 90, i, 8 + i % 20);
    request.client_id = "greedy";
    greedy.push_back(Submit(core, request));
  }
  for (int i = 0; i < 30; ++i) core.Step();
  GenerateRequest other = one;
  other.client_id = "other";
  const auto sink = Submit(core, other);
  int num_steps = 0;
  while (sink->Answer().empty() && core.Step()) ++num_steps;
  EXPECT_LE(num_steps, 2 + 3 * num_alone);
  RunAll(core);
  EXPECT_GT(core.scheduler().num_preemptions(), 0);
  EXPECT_EQ(sink->Answer(), Alone(one));
  for (uint32_t i = 0; i < 200; ++i) {
    EXPECT_TRUE(greedy[i]->status.ok());
    if (greedy[i]->stats.num_preemptions == 0 && i % 20 != 0) continue;
    EXPECT_EQ(greedy[i]->Answer(), Alone(TextRequest(20 + i % 90, i, 8 + i % 20))) << i;
  }
}

TEST_F(EngineCoreTest, EmbeddingsThatNeverComeEndTheSequence) {
  EngineOptions options = Options();
  options.scheduler.slot_wait_timeout_ms = 20;
  EngineCore core(options, *Model().language);
  const auto sink = Submit(core, PictureRequest(150, "key"));
  const auto other = Submit(core, TextRequest(30, 1, 3));
  const auto begin = EngineCore::Clock::now();
  while (sink->num_finished == 0 && EngineCore::Clock::now() - begin < std::chrono::seconds(10)) {
    core.Step();
  }
  RunAll(core);
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(sink->status), HasSubstr("position 30 of 189 did not arrive within 20 ms"));
  EXPECT_TRUE(other->status.ok());
  EXPECT_EQ(core.scheduler().num_blocks_in_use(), 0);
  EXPECT_EQ(core.scheduler().reserved_bytes(), 0);
}

TEST_F(EngineCoreTest, CancellingFreesEverythingAndDisturbsNobody) {
  const GenerateRequest staying = TextRequest(90, 8, 30);
  EngineCore core(Options(), *Model().language);
  const auto stays = Submit(core, staying);
  uint64_t prefilling = 0, decoding = 0, waiting = 0;
  const auto decodes = Submit(core, TextRequest(20, 9, 200), &decoding);
  while (decodes->Answer().size() < 3) core.Step();
  const auto prefills = Submit(core, TextRequest(300, 10, 5), &prefilling);
  core.Step();
  const auto waits = Submit(core, PictureRequest(150, "key"), &waiting);
  core.Step();
  for (const uint64_t id : {prefilling, decoding, waiting, waiting}) core.Cancel(id);
  for (const auto& sink : {decodes, prefills, waits}) {
    EXPECT_EQ(sink->status.code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(sink->num_finished, 1);
  }
  RunAll(core);
  EXPECT_EQ(stays->Answer(), Alone(staying));
  EXPECT_EQ(core.scheduler().num_blocks_in_use(), 0);
  EXPECT_EQ(core.scheduler().reserved_bytes(), 0);
  EXPECT_EQ(core.scheduler().num_waiting() + core.scheduler().num_running(), 0);
}

TEST_F(EngineCoreTest, HostMemoryForEmbeddingsIsBoundedWithoutDeadlock) {
  // Room for one picture's embeddings at a time.
  EngineOptions options = Options();
  options.scheduler.max_embedding_bytes = 200 * 128 * 4;
  EngineCore core(options, *Model().language);
  const std::vector<float> all = SomeEmbeddings(150);
  uint64_t first_id = 0, second_id = 0;
  const auto first = Submit(core, PictureRequest(150, ""), &first_id);
  const auto second = Submit(core, PictureRequest(150, ""), &second_id);
  core.Step();
  EXPECT_THAT(second->slots_needed, IsEmpty());
  Upload(core, first_id, all, 0, 150);
  RunAll(core);
  EXPECT_TRUE(first->status.ok());
  EXPECT_THAT(second->slots_needed, ElementsAre(Pair(0, 0)));
  Upload(core, second_id, all, 0, 150);
  RunAll(core);
  EXPECT_EQ(second->Answer(), first->Answer());
}

TEST_F(EngineCoreTest, StopsAtTokensAndAtTheContext) {
  GenerateRequest request = TextRequest(40, 2, 30);
  const Answer answer = Alone(request);
  request.stop_token_ids = {answer[6].first};
  EngineCore core(Options(), *Model().language);
  const auto sink = Submit(core, request);
  RunAll(core);
  EXPECT_THAT(sink->reasons, ElementsAre(FinishReason::kStop));
  EXPECT_LE(sink->Answer().size(), 7u);
  EXPECT_EQ(sink->Answer().back().first, answer[6].first);

  EngineCore large(Options(66), *Model().language);
  const auto to_the_end = Submit(large, TextRequest(4090, 2, 0));
  RunAll(large);
  EXPECT_TRUE(to_the_end->status.ok());
  EXPECT_EQ(to_the_end->Answer().size(), 6u);
}

TEST_F(EngineCoreTest, RefusesWhatCannotBe) {
  GenerateRequest request = TextRequest(10, 1, 5);
  EXPECT_EQ(Error(request), "accepted");
  EXPECT_THAT(Error(TextRequest(0, 1, 5)), HasSubstr("the prompt is empty"));
  EXPECT_THAT(Error(TextRequest(4096, 1, 5)), HasSubstr("more than 4095 tokens"));
  EXPECT_THAT(Error(TextRequest(1000, 1, 5), 8), HasSubstr("the cache has 8"));
  GenerateRequest bad = request;
  bad.parts = {std::vector<int32_t>{544}};
  EXPECT_THAT(Error(bad), HasSubstr("prompt token id 544 is outside [0, 544)"));
  bad.parts = {std::vector<int32_t>{-1}};
  EXPECT_THAT(Error(bad), HasSubstr("-1 is outside"));
  bad.parts = {ImagePart{.content_key = "", .num_embeddings = 0}};
  EXPECT_THAT(Error(bad), HasSubstr("a picture of 0 embeddings"));
  bad.parts = {ImagePart{.content_key = "", .num_embeddings = INT64_MAX}};
  EXPECT_THAT(Error(bad), HasSubstr("more than 4095 tokens"));
  bad = request;
  bad.num_samples = 17;
  EXPECT_THAT(Error(bad), HasSubstr("num_samples 17 is outside [1, 16]"));
  bad = request;
  bad.sampling.temperature = -1;
  EXPECT_THAT(Error(bad), HasSubstr("temperature"));
  bad = request;
  bad.generated_prefix = {1, 2, 3, 4, 5};
  EXPECT_THAT(Error(bad), HasSubstr("generated_prefix holds 5 tokens, max_new_tokens is 5"));
  bad = request;
  bad.max_new_tokens = -1;
  EXPECT_THAT(Error(bad), HasSubstr("max_new_tokens -1 is negative"));
  bad = PictureRequest(1000, "");
  EXPECT_EQ(Error(bad), "accepted");
}

}  // namespace
}  // namespace vl2
