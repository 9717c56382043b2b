#include "vision_service/engine/vision_engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/vision_service/engine/vision_engine_fixture.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(VisionEngineTest, TogetherAsAloneInBatchesOfAnySize) {
  const std::vector<EncodeJob> jobs = {Job("scene_640x480.png", 2), Job("scene_300x420.png", 1),
                                       Job("scene_500x333.png", 3)};
  std::vector<std::vector<float>> alone;
  for (const EncodeJob& job : jobs) alone.push_back(Alone(job));
  for (const int max_batch_tiles : {1, 4}) {
    Start({.max_batch_tiles = max_batch_tiles, .cache_bytes = 0, .image_limits = {}});
    Progress progress;
    std::vector<std::shared_ptr<EncodeSubscription>> all;
    for (size_t i = 0; i < jobs.size(); ++i) {
      all.push_back(Encode(jobs[i], progress.Of(static_cast<char>('a' + i))));
    }
    for (size_t i = 0; i < jobs.size(); ++i) {
      progress.WaitFor(static_cast<char>('a' + i), jobs[i].plan.num_tiles);
      EXPECT_EQ(all[i]->num_ready(), jobs[i].plan.num_embeddings);
      EXPECT_TRUE(Values(all[i]->embeddings()) == alone[i]) << i << " of " << max_batch_tiles;
      EXPECT_TRUE(all[i]->status().ok());
    }
    EXPECT_EQ(engine_->snapshot().num_encoded_tiles, 3 + 2 + 4);
    EXPECT_EQ(engine_->snapshot().num_queued_tiles, 0);
    all.clear();
    engine_.reset();
  }
}

TEST_F(VisionEngineTest, TheOldestPictureGoesFirst) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const auto a = Encode(Job("scene_640x480.png", 3), progress_.Of('a', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  // The global view is encoded: its rows are ready, and no more.
  EXPECT_GT(a->num_ready(), 0);
  EXPECT_LT(a->num_ready(), a->embeddings().rows);
  EXPECT_EQ(a->num_encoded_tiles(), 1);
  const auto b = Encode(Job("scene_500x333.png", 2), progress_.Of('b'));
  const auto c = Encode(Job("scene_300x420.png", 1), progress_.Of('c'));
  WaitUntilCut();
  EXPECT_EQ(engine_->snapshot().num_queued_tiles, 3 + 3 + 2);
  gate_.Open();
  progress_.WaitFor('c', 2);
  EXPECT_EQ(progress_.order(), "a!aaabbbcc");
}

TEST_F(VisionEngineTest, PicturesShareABatch) {
  Start({.max_batch_tiles = 8, .num_decode_threads = 1, .image_limits = {}});
  const auto first = Encode(Job("scene_300x420.png", 1), progress_.Of('f', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  const auto a = Encode(Job("scene_640x480.png", 2), progress_.Of('a', [&] { last_gate_.Pass(); }));
  const auto b = Encode(Job("scene_500x333.png", 2), progress_.Of('b'));
  WaitUntilCut();
  EXPECT_EQ(b->timings().queue_ms, 0) << "not taken yet";
  gate_.Open();
  last_gate_.WaitForArrival();
  // One tile of a has been reported, and b's were computed beside it.
  EXPECT_EQ(a->num_encoded_tiles(), 1);
  EXPECT_EQ(b->num_encoded_tiles(), 0);
  EXPECT_GT(b->timings().queue_ms, 0);
  last_gate_.Open();
  progress_.WaitFor('b', 3);
  EXPECT_TRUE(Values(b->embeddings()) == Alone(Job("scene_500x333.png", 2)));
}

TEST_F(VisionEngineTest, EqualPicturesInFlightShareOneEncoding) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const EncodeJob job = Job("scene_640x480.png", 2);
  auto a = Encode(job, progress_.Of('a', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  const auto b = Encode(job, progress_.Of('b'));
  auto c = Encode(job, progress_.Of('c'));
  EXPECT_EQ(engine_->snapshot().num_shared, 2);
  EXPECT_EQ(engine_->snapshot().num_encodings, 1);
  EXPECT_EQ(b->num_encoded_tiles(), 1) << "what is ready already may be read at once";
  // Two of three lose interest.
  a.reset();
  c.reset();
  gate_.Open();
  progress_.WaitFor('b', 2);
  WaitUntilIdle();
  EXPECT_EQ(b->num_ready(), job.plan.num_embeddings);
  EXPECT_EQ(engine_->snapshot().num_encoded_tiles, job.plan.num_tiles);
  EXPECT_EQ(engine_->snapshot().num_cancelled, 0);
  // Now from the cache.
  const auto d = Encode(job);
  EXPECT_TRUE(d->from_cache());
  EXPECT_EQ(d->num_ready(), job.plan.num_embeddings);
  EXPECT_EQ(engine_->snapshot().num_cache_hits, 1);
  EXPECT_EQ(engine_->snapshot().num_encoded_tiles, job.plan.num_tiles);
}

TEST_F(VisionEngineTest, APictureThatAllHaveLeftIsDropped) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const EncodeJob job = Job("scene_640x480.png", 5);
  std::shared_ptr<EncodeSubscription> a;
  // Left in the middle, from its own callback.
  a = Encode(job, progress_.Of('a', [&] {
    gate_.Pass();
    a.reset();
  }));
  gate_.WaitForArrival();
  auto b = Encode(Job("scene_300x420.png", 1), progress_.Of('b'));
  auto waiting = Encode(Job("scene_500x333.png", 4), progress_.Of('w'));
  EXPECT_EQ(engine_->snapshot().num_queued_tiles, 5 + 2 + 5);
  waiting.reset();  // not begun
  EXPECT_EQ(engine_->snapshot().num_queued_tiles, 5 + 2);
  EXPECT_EQ(engine_->snapshot().num_cancelled, 1);
  gate_.Open();
  progress_.WaitFor('b', 2);
  WaitUntilIdle();
  EXPECT_EQ(engine_->snapshot().num_cancelled, 2);
  EXPECT_EQ(progress_.order(), "abb");
  EXPECT_FALSE(engine_->IsCached(job.content_key));
  EXPECT_TRUE(engine_->IsCached(Job("scene_300x420.png", 1).content_key));
  // Asked for again, it is encoded from the beginning.
  const auto again = Encode(job, progress_.Of('c'));
  EXPECT_EQ(again->num_ready(), 0);
  progress_.WaitFor('c', job.plan.num_tiles);
  EXPECT_TRUE(Values(again->embeddings()) == Alone(job));
}

TEST_F(VisionEngineTest, TheCacheIsBoundedInBytes) {
  const std::vector<EncodeJob> jobs = {Job("scene_640x480.png", 1), Job("scene_300x420.png", 1),
                                       Job("scene_500x333.png", 1)};
  const int64_t size = jobs[0].plan.num_embeddings * encoder_->hidden() * 4;
  Start({.cache_bytes = 2 * size, .image_limits = {}});
  const auto run = [&](const EncodeJob& job) {
    const auto subscription = Encode(job);
    while (subscription->num_ready() < job.plan.num_embeddings) std::this_thread::yield();
    WaitUntilIdle();
    EXPECT_LE(engine_->snapshot().cache_bytes, 2 * size);
  };
  run(jobs[0]);
  run(jobs[1]);
  run(jobs[0]);  // used again: the other one is the oldest now
  run(jobs[2]);
  EXPECT_EQ(engine_->snapshot().cache_bytes, 2 * size);
  EXPECT_TRUE(engine_->IsCached(jobs[0].content_key));
  EXPECT_FALSE(engine_->IsCached(jobs[1].content_key));
  EXPECT_TRUE(engine_->IsCached(jobs[2].content_key));
  EXPECT_EQ(engine_->snapshot().num_cache_hits, 1);
}

TEST_F(VisionEngineTest, ABrokenPictureFailsAlone) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const EncodeJob good = Job("scene_300x420.png", 1);
  const auto broken = Encode(BrokenJob(), progress_.Of('x'));
  const auto whole = Encode(good, progress_.Of('a'));
  progress_.WaitFor('x', 1);
  EXPECT_TRUE(absl::IsInvalidArgument(broken->status())) << broken->status();
  progress_.WaitFor('a', 2);
  EXPECT_TRUE(Values(whole->embeddings()) == Alone(good));
  WaitUntilIdle();
}

TEST_F(VisionEngineTest, LimitsAreNamed) {
  ImageLimits image_limits;
  image_limits.max_bytes = 1000;
  Start({.num_decode_threads = 1,
         .max_queued_tiles = 4,
         .max_held_images = 2,
         .max_held_bytes = 1500,
         .image_limits = image_limits});
  const EncodeJob small = Job("scene_300x420.png", 1);
  EncodeJob large = Job("scene_640x480.png", 4);
  EXPECT_THAT(engine_->Encode(large, [] {}).status().ToString(),
              HasSubstr("the picture has 5, the limit max_queued_tiles is 4"));
  EXPECT_EQ(engine_->snapshot().num_encodings, 0);

  auto held = *engine_->Hold();
  auto other = *engine_->Hold();
  const absl::Status full = engine_->Hold().status();
  EXPECT_TRUE(absl::IsResourceExhausted(full));
  EXPECT_THAT(full.ToString(), HasSubstr("max_held_images is 2"));
  EXPECT_TRUE(held->Append(std::string(900, 'x')).ok());
  const absl::Status too_large = held->Append(std::string(101, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(too_large));
  EXPECT_THAT(too_large.ToString(), HasSubstr("1000"));
  EXPECT_TRUE(held->Append(std::string(100, 'x')).ok());
  const absl::Status too_much = other->Append(std::string(501, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(too_much));
  EXPECT_THAT(too_much.ToString(), HasSubstr("max_held_bytes is 1500"));
  EXPECT_EQ(engine_->snapshot().held_bytes, 1000);
  held.reset();
  EXPECT_TRUE(other->Append(std::string(501, 'x')).ok());
  other.reset();
  EXPECT_EQ(engine_->snapshot().num_held_images, 0);
  EXPECT_EQ(engine_->snapshot().held_bytes, 0);
}

TEST_F(VisionEngineTest, StopEndsWhatIsUnderWay) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  auto a = Encode(Job("scene_640x480.png", 3), progress_.Of('a', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  auto b = Encode(Job("scene_500x333.png", 2), progress_.Of('b'));
  std::thread stopper([&] { engine_->Stop(); });
  // Both are told before the encoder, which is held, has come to an end.
  progress_.WaitFor('b', 1);
  progress_.WaitFor('a', 2);
  gate_.Open();
  stopper.join();
  for (const auto& each : {a, b}) {
    EXPECT_TRUE(absl::IsUnavailable(each->status())) << each->status();
  }
  EXPECT_TRUE(absl::IsUnavailable(engine_->Encode(Job("scene_300x420.png", 1), [] {}).status()));
  EXPECT_EQ(engine_->snapshot().num_queued_tiles, 0);
  a.reset();
  b.reset();
  engine_->Stop();
}

TEST_F(VisionEngineTest, ManyCallersThatComeAndGo) {
  const std::vector<EncodeJob> jobs = {Job("scene_640x480.png", 1), Job("scene_300x420.png", 1),
                                       Job("scene_500x333.png", 1)};
  std::vector<std::vector<float>> alone;
  for (const EncodeJob& job : jobs) alone.push_back(Alone(job));
  // Room for one in the cache: the others are encoded again and again.
  Start({.max_batch_tiles = 3,
         .cache_bytes = jobs[0].plan.num_embeddings * encoder_->hidden() * 4,
         .image_limits = {}});
  EXPECT_GT(ComeAndGo(jobs, alone), 0);
  WaitUntilIdle();
  EXPECT_EQ(engine_->snapshot().num_queued_tiles, 0);
}

}  // namespace
}  // namespace vl2
