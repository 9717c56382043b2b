// What the vision engine tells of its progress, for whoever decides whether it hangs.
#include <memory>

#include "gtest/gtest.h"
#include "tests/vision_service/engine/vision_engine_fixture.h"

namespace vl2 {
namespace {

TEST_F(VisionEngineTest, ABrokenPictureIsProgressOfTheDecodersAlone) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const VisionEngineSnapshot before = engine_->snapshot();
  EXPECT_FALSE(before.has_decodes);
  EXPECT_FALSE(before.has_batches);
  const auto broken = Encode(BrokenJob(), progress_.Of('!'));
  progress_.WaitFor('!', 1);
  WaitUntilIdle();
  const VisionEngineSnapshot after = engine_->snapshot();
  EXPECT_EQ(after.num_decodes, before.num_decodes + 1) << "though no tile of it is ever encoded";
  EXPECT_FALSE(after.has_decodes);
  EXPECT_FALSE(after.has_batches);
  EXPECT_EQ(after.num_batches, before.num_batches);
}

TEST_F(VisionEngineTest, AnEncoderThatHangsIsNotHiddenByTheDecoders) {
  Start({.num_decode_threads = 1, .image_limits = {}});
  const auto held = Encode(Job("scene_640x480.png", 1), progress_.Of('h', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  const VisionEngineSnapshot before = engine_->snapshot();
  WaitUntilCut();
  const VisionEngineSnapshot after = engine_->snapshot();
  EXPECT_TRUE(before.has_batches);
  EXPECT_TRUE(after.has_batches);
  EXPECT_EQ(after.num_batches, before.num_batches);
  EXPECT_GT(after.num_decodes, before.num_decodes);
  gate_.Open();
  progress_.WaitFor('h', 2);
  WaitUntilIdle();
  while (engine_->snapshot().has_batches) std::this_thread::yield();
  EXPECT_EQ(engine_->snapshot().num_batches, 2);
}

TEST_F(VisionEngineTest, TilesThatNobodyTakesAreWork) {
  Start({.max_batch_tiles = 1, .num_decode_threads = 1, .image_limits = {}});
  const auto first = Encode(Job("scene_640x480.png", 2), progress_.Of('f', [&] {
    if (first_.exchange(false)) gate_.Pass();
  }));
  gate_.WaitForArrival();
  WaitUntilCut();
  EXPECT_EQ(engine_->snapshot().num_cut_tiles, 2) << "one of three is in the held batch";
  gate_.Open();
  progress_.WaitFor('f', 3);
  WaitUntilIdle();
  EXPECT_EQ(engine_->snapshot().num_cut_tiles, 0);
}

}  // namespace
}  // namespace vl2
