#include "vision_service/engine/tile_cache.h"

#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace vl2 {
namespace {

constexpr int64_t kBytes = 40;

TileEmbeddings Embeddings(float value) {
  return std::make_shared<const std::vector<float>>(kBytes / sizeof(float), value);
}

Tile TileOf(int side, uint8_t value) {
  Tile tile(side);
  std::memset(tile.data(), value, tile.num_bytes());
  return tile;
}

TEST(TileKeyTest, IsOfAllPixels) {
  Tile tile = TileOf(14, 7);
  const TileKey key = MakeTileKey(tile);
  EXPECT_EQ(key.size(), 32u);
  EXPECT_EQ(MakeTileKey(TileOf(14, 7)), key);
  EXPECT_NE(MakeTileKey(TileOf(28, 7)), key);
  for (const size_t place : {size_t{0}, tile.num_bytes() / 2, tile.num_bytes() - 1}) {
    tile.data()[place] ^= 1;
    EXPECT_NE(MakeTileKey(tile), key) << place;
    tile.data()[place] ^= 1;
  }
  EXPECT_EQ(MakeTileKey(tile), key);
}

TEST(TileCacheTest, DropsTheLeastRecentlyUsed) {
  TileCache cache(3 * kBytes);
  EXPECT_TRUE(cache.enabled());
  for (const char* key : {"a", "b", "c"}) cache.Add(key, Embeddings(key[0]));
  EXPECT_EQ(cache.num_bytes(), 3 * kBytes);
  const TileEmbeddings a = cache.Find("a");  // now b is the oldest
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->front(), 'a');
  cache.Add("d", Embeddings('d'));
  EXPECT_EQ(cache.num_bytes(), 3 * kBytes);
  EXPECT_EQ(cache.Find("b"), nullptr);
  for (const char* key : {"c", "d"}) EXPECT_NE(cache.Find(key), nullptr) << key;
  for (const char* key : {"e", "f", "g"}) cache.Add(key, Embeddings(key[0]));
  EXPECT_EQ(cache.Find("a"), nullptr);
  EXPECT_EQ(a->front(), 'a') << "whoever reads what was dropped keeps it";
}

TEST(TileCacheTest, WhatIsTooLargeOrThereAlreadyChangesNothing) {
  TileCache cache(kBytes);
  cache.Add("a", Embeddings(1));
  cache.Add("a", Embeddings(2));
  EXPECT_EQ(cache.Find("a")->front(), 1);
  cache.Add("large", std::make_shared<const std::vector<float>>(kBytes));
  EXPECT_EQ(cache.Find("large"), nullptr);
  EXPECT_EQ(cache.num_bytes(), kBytes);
  EXPECT_NE(cache.Find("a"), nullptr);
  EXPECT_FALSE(TileCache(0).enabled());
}

}  // namespace
}  // namespace vl2
