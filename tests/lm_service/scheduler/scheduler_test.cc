// Admission, pins, preemption and expiry, on a clock of the test's and without a model.
#include "lm_service/scheduler/scheduler.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "runtime/ops/paged_cache.h"
#include "tests/lm_service/scheduler/fake_engine.h"

namespace vl2 {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

SchedulerOptions Options(int64_t num_blocks) {
  return {.num_blocks = num_blocks, .max_running = 8, .max_batch_tokens = 512};
}

TEST(SchedulerOptions, NamesWhatIsWrong) {
  EXPECT_TRUE(Options(1).Validate().ok());
  EXPECT_THAT(Message(Options(0).Validate()), HasSubstr("num_blocks is 0"));
  SchedulerOptions options = Options(1);
  options.max_batch_tokens = 15;
  EXPECT_THAT(Message(options.Validate()), HasSubstr("max_batch_tokens is 15"));
}

// Admission.

TEST(Scheduler, AdmitsAllOrNothing) {
  // Prompts of 100 tokens need two blocks each, and nobody gets one of two.
  FakeEngine engine(Options(5));
  const FakeRequest first = engine.Add(TextPrompt(100, 5, 1));
  const FakeRequest second = engine.Add(TextPrompt(100, 5, 2));
  const FakeRequest third = engine.Add(TextPrompt(100, 5, 3));
  engine.Step();
  EXPECT_EQ(engine.scheduler.num_running(), 2);
  EXPECT_EQ(engine.scheduler.num_waiting(), 1);
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 4);
  engine.Run();
  for (const FakeRequest& request : {first, second, third}) {
    EXPECT_TRUE(request.sink->finished);
    EXPECT_TRUE(request.sink->status.ok());
    EXPECT_EQ(request.sink->num_tokens, 5);
  }
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 0);
}

TEST(Scheduler, ReservesATokenOfEachSampleAtAdmission) {
  // 64 tokens fill a block; three samples take one more each.
  FakeEngine engine(Options(10));
  GenerateRequest request = TextPrompt(64, 5);
  request.num_samples = 3;
  engine.Add(request);
  engine.Step();
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 4);
}

TEST(Scheduler, NobodyOvertakesWhoWaitsForBlocks) {
  FakeEngine engine(Options(4));
  engine.Add(TextPrompt(100, 50, 1));
  engine.Step();
  const FakeRequest large = engine.Add(TextPrompt(150, 5, 2));  // three blocks: does not fit
  const FakeRequest small = engine.Add(TextPrompt(10, 5, 3));
  const auto step = engine.Step();
  EXPECT_EQ(RowsOf(step, large) + RowsOf(step, small), 0);
  engine.Run();
  EXPECT_TRUE(large.sink->finished);
  EXPECT_TRUE(small.sink->finished);
}

TEST(Scheduler, RunsSoManyAtATime) {
  SchedulerOptions options = Options(100);
  options.max_running = 3;
  FakeEngine engine(options);
  for (int32_t i = 0; i < 5; ++i) engine.Add(TextPrompt(10, 5, i + 1));
  engine.Step();
  EXPECT_EQ(engine.scheduler.num_running(), 3);
  EXPECT_EQ(engine.scheduler.num_waiting(), 2);
}

TEST(Scheduler, WhoWaitsForHostMemoryHoldsUpNobody) {
  SchedulerOptions options = Options(100);
  options.max_embedding_bytes = 100 * FakeEngine::kHidden * 4;
  FakeEngine engine(options);
  const FakeRequest first = engine.Add(PicturePrompt(10, 80, "", 5));
  const FakeRequest second = engine.Add(PicturePrompt(10, 80, "", 5));
  const FakeRequest text = engine.Add(TextPrompt(10, 3, 7));
  engine.Run();
  EXPECT_TRUE(text.sink->finished);
  EXPECT_THAT(first.sink->slots_needed, ElementsAre(Pair(0, 0)));
  EXPECT_THAT(second.sink->slots_needed, IsEmpty());
  engine.Upload(first, 0, 0, 80);
  engine.Run();
  EXPECT_TRUE(first.sink->finished);
  EXPECT_THAT(second.sink->slots_needed, ElementsAre(Pair(0, 0)));
  EXPECT_EQ(engine.scheduler.reserved_bytes(), 80 * FakeEngine::kHidden * 4);
}

// Pins.

TEST(Scheduler, TheLastPromptTokenIsAlwaysComputed) {
  FakeEngine engine(Options(20));
  engine.Add(TextPrompt(128, 1));
  engine.Run();
  // Both blocks are cached now; the second holds the token whose logits are needed.
  const FakeRequest again = engine.Add(TextPrompt(128, 1));
  EXPECT_EQ(RowsOf(engine.Step(), again), 64);
  EXPECT_EQ(again.sink->stats.cached_tokens, 64);
  const FakeRequest longer = engine.Add(TextPrompt(129, 1));
  EXPECT_EQ(RowsOf(engine.Step(), longer), 1);
}

TEST(Scheduler, AsksOnlyForEmbeddingsThatAreNotCached) {
  FakeEngine engine(Options(20));
  const FakeRequest first = engine.Add(PicturePrompt(30, 150, "key", 2));
  engine.Upload(first, 0, 0, 150);
  engine.Run();
  const FakeRequest second = engine.Add(PicturePrompt(30, 150, "key", 2));
  EXPECT_THAT(second.sink->slots_needed, ElementsAre(Pair(0, 128 - 30)));
  const FakeRequest other = engine.Add(PicturePrompt(30, 150, "other", 2));
  EXPECT_THAT(other.sink->slots_needed, ElementsAre(Pair(0, 0)));
}

TEST(Scheduler, PinsAreKeptWhileOthersNeedBlocks) {
  FakeEngine engine(Options(6));
  const FakeRequest first = engine.Add(PicturePrompt(30, 150, "key", 2));
  engine.Upload(first, 0, 0, 150);
  engine.Run();
  // Three blocks each: the pinned two and one, and nobody's pins go while another runs.
  const FakeRequest text = engine.Add(TextPrompt(150, 60, 7));
  engine.Step();
  const FakeRequest second = engine.Add(PicturePrompt(30, 150, "key", 2));
  engine.Add(TextPrompt(300, 1, 8));
  engine.Step();
  EXPECT_FALSE(text.sink->finished);
  EXPECT_THAT(second.sink->slots_needed, ElementsAre(Pair(0, 98)));
  engine.Upload(second, 0, 98, 52);
  engine.Run();
  EXPECT_TRUE(second.sink->finished);
  EXPECT_THAT(second.sink->slots_needed, ElementsAre(Pair(0, 98)));
  EXPECT_EQ(second.sink->stats.cached_tokens, 128);
}

TEST(Scheduler, PinsThatAreAllThatIsInTheWayAreDropped) {
  // The text needs the whole cache; who waits behind it has a picture's prefix pinned.
  FakeEngine engine(Options(5));
  const FakeRequest first = engine.Add(PicturePrompt(30, 150, "key", 2));
  engine.Upload(first, 0, 0, 150);
  engine.Run();
  const FakeRequest text = engine.Add(TextPrompt(300, 1, 8));
  const FakeRequest waiting = engine.Add(PicturePrompt(30, 150, "key", 2));
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 2);  // pinned
  engine.Step();
  EXPECT_THAT(waiting.sink->slots_needed, ElementsAre(Pair(0, 98), Pair(0, 0)));
  EXPECT_TRUE(text.sink->finished);
  engine.Upload(waiting, 0, 0, 150);
  engine.Run();
  EXPECT_TRUE(waiting.sink->finished);
  EXPECT_TRUE(waiting.sink->status.ok());
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 0);
}

// Preemption.

TEST(Scheduler, GrowthPreemptsTheNewest) {
  // Three prompts that end a block full: each grows with its first token of the next block.
  FakeEngine engine(Options(7));
  std::vector<FakeRequest> requests;
  for (int32_t i = 0; i < 3; ++i) requests.push_back(engine.Add(TextPrompt(70, 100, i + 1)));
  while (engine.scheduler.num_preemptions() == 0) engine.Step();
  EXPECT_EQ(engine.scheduler.num_running(), 2);
  EXPECT_EQ(engine.scheduler.Find(requests[2].id)->stats().num_preemptions, 1);
  engine.Run();
  for (const FakeRequest& request : requests) {
    EXPECT_TRUE(request.sink->finished);
    EXPECT_EQ(request.sink->num_tokens, 100);
  }
  EXPECT_EQ(requests[0].sink->stats.num_preemptions, 0);
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 0);
}

TEST(Scheduler, ThePreemptedGoToTheHeadOfTheQueue) {
  SchedulerOptions options = Options(7);
  options.max_running = 3;
  FakeEngine engine(options);
  std::vector<FakeRequest> requests;
  for (int32_t i = 0; i < 4; ++i) requests.push_back(engine.Add(TextPrompt(70, 100, i + 1)));
  while (engine.scheduler.num_preemptions() == 0) engine.Step();
  // The fourth has waited from the start, yet the third, preempted, comes before it.
  std::vector<uint64_t> order;
  engine.scheduler.ForEach([&](Sequence& sequence) { order.push_back(sequence.id()); });
  EXPECT_THAT(order, ElementsAre(requests[0].id, requests[1].id, requests[2].id, requests[3].id));
  engine.Run();
  EXPECT_TRUE(requests[3].sink->finished);
}

TEST(Scheduler, APreemptedPictureKeepsWhatWasNeverUploaded) {
  FakeEngine engine(Options(9));
  const FakeRequest first = engine.Add(PicturePrompt(30, 150, "key", 1));
  engine.Upload(first, 0, 0, 150);
  engine.Run();
  const FakeRequest text = engine.Add(TextPrompt(60, 300, 7));
  engine.Step();
  const FakeRequest picture = engine.Add(PicturePrompt(30, 150, "key", 250));
  engine.Upload(picture, 0, 98, 52);
  engine.Run();
  EXPECT_TRUE(text.sink->status.ok());
  EXPECT_GT(picture.sink->stats.num_preemptions, 0);
  EXPECT_TRUE(picture.sink->status.ok());
  // Asked once: the pinned blocks stayed.
  EXPECT_THAT(picture.sink->slots_needed, ElementsAre(Pair(0, 98)));
}

TEST(Scheduler, EndsWhatIsTooLargeForTheCacheAlone) {
  FakeEngine engine(Options(2));
  const FakeRequest request = engine.Add(TextPrompt(100, 100));
  engine.Run();
  EXPECT_EQ(request.sink->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(request.sink->status), HasSubstr("2 blocks of 64 tokens are too few"));
  EXPECT_EQ(request.sink->num_tokens, 29);  // the 29th is the first that has no place
}

// Four samples that fill a block each lose them to an older sequence that grows. To go on they need
// none beyond those.
TEST(Scheduler, APreemptedSequenceNeedsNoMoreThanItHad) {
  FakeEngine engine(Options(7));
  const FakeRequest old = engine.Add(TextPrompt(189, 60, 1));
  GenerateRequest request = TextPrompt(60, 5, 2);
  request.num_samples = 4;
  const FakeRequest samples = engine.Add(request);
  const FakeRequest behind = engine.Add(TextPrompt(10, 3, 3));
  engine.Run();
  EXPECT_TRUE(old.sink->status.ok());
  EXPECT_EQ(samples.sink->stats.num_preemptions, 1);
  EXPECT_TRUE(samples.sink->finished);
  EXPECT_TRUE(samples.sink->status.ok()) << samples.sink->status;
  EXPECT_TRUE(behind.sink->finished);
}

TEST(Scheduler, WhoCannotGoOnAloneDoesNotHoldUpTheQueue) {
  // As above, but they go on and need eight of seven blocks.
  FakeEngine engine(Options(7));
  engine.Add(TextPrompt(188, 60, 1));
  GenerateRequest request = TextPrompt(60, 100, 2);
  request.num_samples = 4;
  const FakeRequest large = engine.Add(request);
  const FakeRequest behind = engine.Add(TextPrompt(10, 3, 3));
  engine.Run();
  EXPECT_EQ(large.sink->stats.num_preemptions, 1);
  EXPECT_TRUE(large.sink->finished);
  EXPECT_EQ(large.sink->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(large.sink->status), HasSubstr("7 blocks of 64 tokens are too few"));
  EXPECT_TRUE(behind.sink->finished);
  EXPECT_TRUE(behind.sink->status.ok());
}

TEST(Scheduler, PinsOfTwoThatWaitDoNotHangTheEngine) {
  // Each has a prefix pinned, and the pins of the other are in the way of both.
  FakeEngine engine(Options(10));
  engine.Add(TextPrompt(3 * 64 + 1, 1, 1));
  engine.Run();
  engine.Add(TextPrompt(5 * 64 + 1, 1, 2));
  engine.Run();
  const FakeRequest first = engine.Add(TextPrompt(7 * 64 + 1, 1, 1));
  const FakeRequest second = engine.Add(TextPrompt(7 * 64 + 1, 1, 2));
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 8);
  engine.Run();
  EXPECT_TRUE(first.sink->finished);
  EXPECT_TRUE(second.sink->finished);
}

// Expiry.

TEST(Scheduler, DeadlinesEndSequencesWaitingOrRunning) {
  SchedulerOptions options = Options(100);
  options.max_running = 1;
  FakeEngine engine(options);
  GenerateRequest request = TextPrompt(10, 100);
  request.deadline = engine.now + milliseconds(50);
  const FakeRequest running = engine.Add(request);
  request.deadline = engine.now + milliseconds(70);
  const FakeRequest waiting = engine.Add(request);
  engine.Step();
  EXPECT_EQ(engine.scheduler.Expire(engine.now), engine.now + milliseconds(50));
  engine.now += milliseconds(50);
  EXPECT_EQ(engine.scheduler.Expire(engine.now), engine.now + milliseconds(20));
  EXPECT_EQ(running.sink->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(waiting.sink->finished);
  engine.now += milliseconds(20);
  EXPECT_EQ(engine.scheduler.Expire(engine.now), Scheduler::Clock::time_point::max());
  EXPECT_EQ(waiting.sink->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(engine.scheduler.num_blocks_in_use(), 0);
}

TEST(Scheduler, MissingEmbeddingsEndASequenceUnlessSomeCome) {
  SchedulerOptions options = Options(100);
  options.slot_wait_timeout_ms = 100;
  FakeEngine engine(options);
  const FakeRequest request = engine.Add(PicturePrompt(10, 20, "", 5));
  engine.now += milliseconds(99);
  engine.Upload(request, 0, 0, 10);
  engine.now += milliseconds(99);
  EXPECT_EQ(engine.scheduler.Expire(engine.now), engine.now + milliseconds(1));
  engine.now += milliseconds(1);
  engine.scheduler.Expire(engine.now);
  EXPECT_EQ(request.sink->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(request.sink->status),
              HasSubstr("position 20 of 31 did not arrive within 100 ms"));
  EXPECT_EQ(engine.scheduler.reserved_bytes(), 0);
}

TEST(Scheduler, NobodyWhoWasNotAskedIsLate) {
  SchedulerOptions options = Options(100);
  options.slot_wait_timeout_ms = 100;
  options.max_embedding_bytes = 20 * FakeEngine::kHidden * 4;
  FakeEngine engine(options);
  const FakeRequest first = engine.Add(PicturePrompt(10, 20, "", 500));
  const FakeRequest second = engine.Add(PicturePrompt(10, 20, "", 5));
  engine.Upload(first, 0, 0, 20);
  engine.now += milliseconds(1000);
  engine.scheduler.Expire(engine.now);
  EXPECT_FALSE(second.sink->finished);
}

// Samples.

TEST(Scheduler, SamplesGoOnInCopiesOfThePromptsLastBlock) {
  FakeEngine engine(Options(20));
  GenerateRequest request = TextPrompt(70, 5);
  request.num_samples = 3;
  const FakeRequest added = engine.Add(request);
  while (!engine.scheduler.Find(added.id)->prompt_done()) engine.Step();
  ASSERT_EQ(engine.copied_blocks.size(), 2u);
  EXPECT_EQ(engine.copied_blocks[0].first, engine.copied_blocks[1].first);
  EXPECT_NE(engine.copied_blocks[0].second, engine.copied_blocks[1].second);
  engine.Run();
  EXPECT_EQ(added.sink->num_tokens, 15);
}

TEST(Scheduler, APromptIsComputedAgainForTheSamplesThatGoOn) {
  // The first sample has ended when the sequence loses its blocks: the prompt's last part then goes
  // into a block of the second.
  FakeEngine engine(Options(7));
  engine.Add(TextPrompt(70, 250, 1));
  GenerateRequest request = TextPrompt(70, 100, 2);
  request.num_samples = 3;
  const FakeRequest added = engine.Add(request);
  while (added.sink->num_tokens < 6) engine.Step();
  engine.ending_request = added.id;
  engine.Step();
  engine.ending_request = 0;
  engine.copied_blocks.clear();
  engine.Run();
  EXPECT_TRUE(added.sink->status.ok());
  EXPECT_GT(added.sink->stats.num_preemptions, 0);
  EXPECT_EQ(added.sink->num_tokens, 3 + 2 * 100);
  EXPECT_THAT(engine.copied_blocks, SizeIs(added.sink->stats.num_preemptions));
}

}  // namespace
}  // namespace vl2
