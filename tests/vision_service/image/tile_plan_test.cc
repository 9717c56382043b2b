#include "vision_service/image/tile_plan.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/vision_service/image/csv.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

TileGeometry PublishedGeometry() {
  TileGeometry geometry;
  for (const auto& [wide, high] : std::vector<std::pair<int, int>>{
           {1, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {1, 4}, {4, 1}, {2, 2},
           {1, 5}, {5, 1}, {1, 6}, {6, 1}, {2, 3}, {3, 2}, {1, 7}, {7, 1},
           {1, 8}, {8, 1}, {2, 4}, {4, 2}, {1, 9}, {9, 1}, {3, 3}}) {
    geometry.candidate_resolutions.push_back({wide * 384, high * 384});
  }
  return geometry;
}

TEST(TilePlanTest, MatchesThePublishedProcessorOnAllListedSizes) {
  const TileGeometry geometry = PublishedGeometry();
  ASSERT_TRUE(geometry.Validate().ok());
  const auto rows = ReadCsv(VL2_TEST_DATA "/golden/data/resolution/sizes.csv");
  ASSERT_EQ(rows.size(), 250u);
  int errors = 0;
  for (const auto& row : rows) {
    ASSERT_EQ(row.size(), 16u);
    const auto value = [&row](size_t column) { return std::stoi(row[column]); };
    const Size image{value(0), value(1)};
    SCOPED_TRACE(Cat(image));
    const Size best = SelectBestResolution(image, geometry.candidate_resolutions);
    EXPECT_EQ(best, (Size{value(2), value(3)}));
    EXPECT_EQ(best.width / 384, value(4));
    EXPECT_EQ(best.height / 384, value(5));
    EXPECT_EQ(NumEmbeddings(geometry, value(4), value(5)), value(6));
    const auto plan = PlanTiles(image, geometry, Tiling::Published(true));
    if (value(15) != 0) {
      ++errors;
      EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(Message(plan.status()), HasSubstr(Cat(image)));
      continue;
    }
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->image, image);
    EXPECT_EQ(plan->tiles_wide, value(4));
    EXPECT_EQ(plan->tiles_high, value(5));
    EXPECT_EQ(plan->num_tiles, 1 + value(4) * value(5));
    EXPECT_EQ(plan->num_embeddings, value(6));
    EXPECT_EQ(plan->global, (ViewGeometry{{384, 384}, {value(7), value(8)}, value(9), value(10)}));
    EXPECT_EQ(plan->local, (ViewGeometry{best, {value(11), value(12)}, value(13), value(14)}));
  }
  EXPECT_EQ(errors, 3);
}

TEST(TilePlanTest, WithoutCroppingThereIsOneTile) {
  const TileGeometry geometry = PublishedGeometry();
  for (const Tiling& tiling : {Tiling::Published(false), Tiling::GlobalOnly()}) {
    const auto plan = PlanTiles({2000, 1501}, geometry, tiling);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->num_tiles, 2);
    EXPECT_EQ(plan->num_embeddings, 421);
    EXPECT_EQ(plan->local, plan->global);
  }
}

TEST(TilePlanTest, FixedTilingIgnoresTheShape) {
  const TileGeometry geometry = PublishedGeometry();
  const auto plan = PlanTiles({100, 100}, geometry, Tiling::Fixed(5, 2));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->tiles_wide, 5);
  EXPECT_EQ(plan->tiles_high, 2);
  EXPECT_EQ(plan->local.canvas, (Size{1920, 768}));
  EXPECT_EQ(plan->local.resized, (Size{768, 768}));
  EXPECT_EQ(plan->local.offset_x, 576);
  EXPECT_EQ(plan->num_embeddings, 14 * 15 + 1 + 28 * 71);
  for (const auto& [wide, high] :
       std::vector<std::pair<int, int>>{{0, 1}, {1, -1}, {65, 1}, {9, 8}, {1 << 30, 1 << 30}}) {
    EXPECT_THAT(Message(PlanTiles({100, 100}, geometry, Tiling::Fixed(wide, high)).status()),
                HasSubstr("1 to 64 tiles"));
  }
}

TEST(TilePlanTest, BudgetTakesTheBestAffordableCandidate) {
  const TileGeometry geometry = PublishedGeometry();
  const std::vector<std::pair<int, Size>> expected = {{1, {384, 384}},  {2, {768, 384}},
                                                      {3, {768, 384}},  {4, {768, 768}},
                                                      {6, {1152, 768}}, {9, {1152, 1152}}};
  for (const auto& [max_tiles, canvas] : expected) {
    const auto plan = PlanTiles({2000, 1501}, geometry, Tiling::Budget(max_tiles));
    ASSERT_TRUE(plan.ok());
    EXPECT_LE(plan->tiles_wide * plan->tiles_high, max_tiles);
    EXPECT_EQ(plan->local.canvas, canvas) << max_tiles;
  }
  EXPECT_EQ(PlanTiles({2000, 1501}, geometry, Tiling::Budget(9))->local.canvas,
            PlanTiles({2000, 1501}, geometry, Tiling::Published(true))->local.canvas);
  EXPECT_THAT(Message(PlanTiles({9, 9}, geometry, Tiling::Budget(0)).status()),
              HasSubstr("tile budget 0"));
  EXPECT_FALSE(PlanTiles({9, 9}, geometry, Tiling::Budget(-5)).ok());
}

TEST(TilePlanTest, RefusesImpossibleSizes) {
  const TileGeometry geometry = PublishedGeometry();
  for (const Size size : {Size{0, 10}, Size{10, 0}, Size{-1, 5}, Size{kMaxPlannedSide + 1, 5}}) {
    const auto plan = PlanTiles(size, geometry, Tiling::Published(true));
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(plan.status()), HasSubstr(Cat(size)));
  }
}

TEST(TilePlanTest, RefusesImpossibleGeometry) {
  const auto message = [](auto change) {
    TileGeometry geometry = PublishedGeometry();
    change(geometry);
    return Message(geometry.Validate());
  };
  EXPECT_THAT(message([](TileGeometry& g) { g.tile_size = 0; }), HasSubstr("tile size 0"));
  EXPECT_THAT(message([](TileGeometry& g) { g.patch_size = 385; }), HasSubstr("patch_size 385"));
  EXPECT_THAT(message([](TileGeometry& g) { g.downsample_ratio = 0; }),
              HasSubstr("downsample_ratio 0"));
  EXPECT_THAT(message([](TileGeometry& g) { g.candidate_resolutions.clear(); }),
              HasSubstr("0 entries"));
  EXPECT_THAT(message([](TileGeometry& g) {
                g.candidate_resolutions = {{384, 400}};
              }),
              HasSubstr("384 x 400"));
  EXPECT_THAT(message([](TileGeometry& g) {
                g.candidate_resolutions = {{384 * 9, 384 * 8}};
              }),
              HasSubstr("72 tiles"));
}

TEST(TilePlanTest, OtherGeometriesAreComputedNotAssumed) {
  TileGeometry geometry{.tile_size = 224,
                        .patch_size = 16,
                        .downsample_ratio = 4,
                        .candidate_resolutions = {{224, 448}}};
  ASSERT_TRUE(geometry.Validate().ok());
  EXPECT_EQ(geometry.embeddings_per_side(), 4);  // ceil(14 / 4)
  const auto plan = PlanTiles({100, 300}, geometry, Tiling::Published(true));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->num_tiles, 3);
  EXPECT_EQ(plan->num_embeddings, 4 * 5 + 1 + 8 * 5);
  EXPECT_EQ(plan->global.canvas, (Size{224, 224}));
}

}  // namespace
}  // namespace vl2
