// What the cache of tiles spares the encoder, and that the embeddings are the same to the bit.
#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/vision_service/engine/vision_engine_fixture.h"
#include "tests/vision_service/image/encoded_bytes.h"

namespace vl2 {
namespace {

// White, one bit a pixel; the lowest row is black if asked for.
std::string WhitePng(Size size, bool black_below = false) {
  const auto row_bytes = static_cast<size_t>((size.width + 7) / 8);
  std::string rows;
  for (int64_t y = 0; y < size.height; ++y) {
    rows += '\0';
    rows += std::string(row_bytes, black_below && y + 1 == size.height ? '\0' : '\xff');
  }
  return PngOf(size, 0, 1, rows);
}

class TileReuseTest : public VisionEngineTest {
 protected:
  // Encodes an image to its end and compares it with what the encoder alone makes of it.
  std::shared_ptr<EncodeSubscription> Run(const EncodeJob& job) {
    auto subscription = Encode(job);
    while (subscription->num_ready() < job.plan.num_embeddings && subscription->status().ok()) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    EXPECT_TRUE(subscription->status().ok()) << subscription->status();
    EXPECT_TRUE(Values(subscription->embeddings()) == Alone(job));
    WaitUntilIdle();
    return subscription;
  }

  int64_t TileBytes() const { return encoder_->embeddings_per_tile() * encoder_->hidden() * 4; }
};

TEST_F(TileReuseTest, EqualTilesOfOneImageAreEncodedOnce) {
  // Three white tiles; the global view has bars above and below.
  const EncodeJob job = Job(WhitePng({1152, 384}), Tiling::Fixed(3, 1));
  for (const int max_batch_tiles : {1, 4}) {
    StartReusing({.max_batch_tiles = max_batch_tiles, .image_limits = {}});
    const auto subscription = Run(job);
    EXPECT_EQ(subscription->num_encoded_tiles(), 4);
    EXPECT_EQ(subscription->num_reused_tiles(), 2);
    const VisionEngineSnapshot now = engine_->snapshot();
    EXPECT_EQ(now.num_encoded_tiles, 2);
    EXPECT_EQ(now.num_tiles_to_encode, 2);
    EXPECT_EQ(now.num_tiles_reused, 2);
    EXPECT_EQ(now.num_tile_cache_misses, 2);
    EXPECT_EQ(now.num_tile_cache_hits + now.num_tiles_shared, 2);
    EXPECT_EQ(now.tile_cache_bytes, 2 * TileBytes());
    engine_.reset();
  }
}

TEST_F(TileReuseTest, OnlyWhatIsNewIsEncoded) {
  for (const bool reuse : {true, false}) {
    StartReusing(
        {.cache_bytes = 0, .tile_cache_bytes = reuse ? int64_t{1} << 20 : 0, .image_limits = {}});
    EXPECT_EQ(Run(Job("scene_640x480.png", 2))->num_reused_tiles(), 0);
    // Another tile budget: the global view is the same.
    EXPECT_EQ(Run(Job("scene_640x480.png", 3))->num_reused_tiles(), reuse ? 1 : 0);
    EXPECT_EQ(engine_->snapshot().num_encoded_tiles, reuse ? 6 : 7);
    // One row of pixels that changed: the tile above is still the same.
    const Tiling tall = Tiling::Fixed(1, 2);
    Run(Job(WhitePng({384, 768}), tall));
    const int64_t before = engine_->snapshot().num_encoded_tiles;
    const auto changed = Run(Job(WhitePng({384, 768}, true), tall));
    EXPECT_EQ(changed->num_reused_tiles(), reuse ? 1 : 0);
    EXPECT_EQ(engine_->snapshot().num_encoded_tiles - before, reuse ? 2 : 3);
    // The whole image again.
    const int64_t last = engine_->snapshot().num_encoded_tiles;
    const auto again = Run(Job("scene_640x480.png", 3));
    EXPECT_FALSE(again->from_cache());
    EXPECT_EQ(again->num_reused_tiles(), reuse ? 4 : 0);
    EXPECT_EQ(engine_->snapshot().num_encoded_tiles - last, reuse ? 0 : 4);
    EXPECT_EQ(again->timings().encode_ms == 0, reuse);
    engine_.reset();
  }
}

TEST_F(TileReuseTest, AnImageOfTheCacheOrInFlightReusesAllItsTiles) {
  StartReusing({.image_limits = {}});
  const EncodeJob job = Job("scene_640x480.png", 2);
  const auto first = Encode(job, progress_.Of('a', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  const auto joined = Encode(job, progress_.Of('b'));
  EXPECT_EQ(joined->num_reused_tiles(), 1) << "one is encoded";
  gate_.Open();
  progress_.WaitFor('b', 2);
  EXPECT_EQ(joined->num_reused_tiles(), 3);
  EXPECT_EQ(first->num_reused_tiles(), 0);
  WaitUntilIdle();
  const auto cached = Encode(job);
  EXPECT_TRUE(cached->from_cache());
  EXPECT_EQ(cached->num_reused_tiles(), 3);
}

TEST_F(TileReuseTest, WhatIsKnownDoesNotWaitForTheEncoder) {
  StartReusing({.cache_bytes = 0, .image_limits = {}});
  const EncodeJob known = Job("scene_640x480.png", 2);
  Run(known);
  const auto other = Encode(Job("scene_500x333.png", 3), progress_.Of('a', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  const auto again = Encode(known, progress_.Of('b'));
  progress_.WaitFor('b', 3);  // the encoder is held
  EXPECT_EQ(again->num_ready(), known.plan.num_embeddings);
  EXPECT_EQ(other->num_encoded_tiles(), 1);
  EXPECT_TRUE(Values(again->embeddings()) == Alone(known));
  gate_.Open();
  progress_.WaitFor('a', 4);
}

TEST_F(TileReuseTest, TheCacheIsBoundedInBytes) {
  StartReusing({.cache_bytes = 0, .tile_cache_bytes = 4 * TileBytes(), .image_limits = {}});
  for (int round = 0; round < 2; ++round) {
    for (const char* name : {"scene_640x480.png", "scene_300x420.png", "scene_500x333.png"}) {
      EXPECT_EQ(Run(Job(name, 2))->num_reused_tiles(), 0) << "dropped by those that came between";
      EXPECT_LE(engine_->snapshot().tile_cache_bytes, 4 * TileBytes());
    }
  }
  EXPECT_EQ(engine_->snapshot().num_encoded_tiles, 2 * 3 * 3);
}

// Tiles come from decode workers and the encoder at the same time, and images are left.
TEST_F(TileReuseTest, ManyCallersThatComeAndGo) {
  const std::vector<EncodeJob> jobs = {Job("scene_640x480.png", 1), Job("scene_640x480.png", 2),
                                       Job("scene_300x420.png", 1),
                                       Job(WhitePng({1152, 384}), Tiling::Fixed(3, 1)),
                                       Job(WhitePng({384, 768}), Tiling::Fixed(1, 2))};
  std::vector<std::vector<float>> alone;
  for (const EncodeJob& job : jobs) alone.push_back(Alone(job));
  StartReusing({.max_batch_tiles = 3,
                .cache_bytes = 0,
                .tile_cache_bytes = 5 * TileBytes(),
                .image_limits = {}});
  ComeAndGo(jobs, alone);
  WaitUntilIdle();
  const VisionEngineSnapshot now = engine_->snapshot();
  EXPECT_EQ(now.num_queued_tiles, 0);
  EXPECT_GT(now.num_tiles_reused, 0);
  EXPECT_LE(now.tile_cache_bytes, 5 * TileBytes());
}

}  // namespace
}  // namespace vl2
