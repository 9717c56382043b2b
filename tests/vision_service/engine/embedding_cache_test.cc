#include "vision_service/engine/embedding_cache.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace vl2 {
namespace {

constexpr int64_t kHidden = 8;
constexpr int64_t kTileSide = 2;

// Of one tile row; its size grows with `tiles_wide`.
std::shared_ptr<Encoding> MakeEncoding(const std::string& key, int tiles_wide = 1) {
  EncodeJob job;
  job.content_key = key;
  const std::vector<float> row(kHidden, 1.0f);
  return std::make_shared<Encoding>(job, TileAssembler(tiles_wide, 1, kTileSide, row, row));
}

TEST(EmbeddingCacheTest, DropsTheLeastRecentlyUsed) {
  const int64_t size = MakeEncoding("any")->num_bytes();
  EmbeddingCache cache(3 * size);
  for (const char* key : {"a", "b", "c"}) cache.Add(MakeEncoding(key));
  EXPECT_EQ(cache.num_bytes(), 3 * size);
  EXPECT_NE(cache.Find("a"), nullptr);  // now b is the oldest
  cache.Add(MakeEncoding("d"));
  EXPECT_EQ(cache.num_bytes(), 3 * size);
  EXPECT_FALSE(cache.Contains("b"));
  EXPECT_EQ(cache.Find("b"), nullptr);
  for (const char* key : {"a", "c", "d"}) EXPECT_TRUE(cache.Contains(key)) << key;
  EXPECT_EQ(cache.Find("c")->job.content_key, "c");
}

TEST(EmbeddingCacheTest, ALargeOneDropsSeveral) {
  const int64_t small = MakeEncoding("any")->num_bytes();
  const int64_t large = MakeEncoding("any", 3)->num_bytes();
  ASSERT_GT(large, small);
  ASSERT_LT(large, 3 * small);
  EmbeddingCache cache(3 * small);
  for (const char* key : {"a", "b", "c"}) cache.Add(MakeEncoding(key));
  cache.Add(MakeEncoding("large", 3));
  EXPECT_TRUE(cache.Contains("large"));
  EXPECT_FALSE(cache.Contains("a"));
  EXPECT_LE(cache.num_bytes(), 3 * small);
  int64_t sum = large;
  for (const char* key : {"b", "c"}) sum += cache.Contains(key) ? small : 0;
  EXPECT_EQ(cache.num_bytes(), sum);
}

TEST(EmbeddingCacheTest, WhatIsTooLargeOrThereAlreadyChangesNothing) {
  const int64_t size = MakeEncoding("any")->num_bytes();
  EmbeddingCache cache(size);
  cache.Add(MakeEncoding("a"));
  cache.Add(MakeEncoding("large", 3));
  EXPECT_TRUE(cache.Contains("a"));
  EXPECT_FALSE(cache.Contains("large"));
  const auto kept = cache.Find("a");
  cache.Add(MakeEncoding("a"));
  EXPECT_EQ(cache.Find("a"), kept);
  EXPECT_EQ(cache.num_bytes(), size);
  EmbeddingCache none(0);
  none.Add(MakeEncoding("a"));
  EXPECT_FALSE(none.Contains("a"));
  EXPECT_EQ(none.num_bytes(), 0);
}

TEST(EmbeddingCacheTest, WhatIsDroppedLivesOnForItsReaders) {
  const int64_t size = MakeEncoding("any")->num_bytes();
  EmbeddingCache cache(size);
  cache.Add(MakeEncoding("a"));
  const auto reader = cache.Find("a");
  cache.Add(MakeEncoding("b"));
  EXPECT_FALSE(cache.Contains("a"));
  EXPECT_EQ(reader->num_bytes(), size);
  EXPECT_EQ(reader.use_count(), 1);
}

}  // namespace
}  // namespace vl2
