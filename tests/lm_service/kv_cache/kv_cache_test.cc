#include "lm_service/kv_cache/kv_cache.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lm_service/kv_cache/block_allocator.h"
#include "lm_service/kv_cache/prefix_cache.h"
#include "runtime/ops/host_ops.h"
#include "runtime/ops/ref/make_ref_ops.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(BlockAllocator, AllOrNothing) {
  BlockAllocator allocator(4);
  const auto three = allocator.Allocate(3);
  ASSERT_TRUE(three.has_value());
  EXPECT_EQ(allocator.num_free(), 1);
  EXPECT_FALSE(allocator.Allocate(2).has_value());
  EXPECT_EQ(allocator.num_free(), 1);
  for (const int32_t block : *three) allocator.Release(block);
  auto all = allocator.Allocate(4);
  ASSERT_TRUE(all.has_value());
  std::sort(all->begin(), all->end());
  EXPECT_THAT(*all, ElementsAre(0, 1, 2, 3));
}

TEST(BlockAllocatorDeathTest, ReleasingAFreeBlockIsABug) {
  BlockAllocator allocator(2);
  EXPECT_DEATH(allocator.Release(1), "block 1 is free");
}

BlockKey Key(uint8_t number) {
  BlockKey key{};
  key[0] = number;
  return key;
}

TEST(PrefixCache, PinsTheLongestRun) {
  PrefixCache cache;
  const std::vector<BlockKey> keys = {Key(1), Key(2), Key(3)};
  EXPECT_TRUE(cache.Insert(keys[0], 10));
  EXPECT_TRUE(cache.Insert(keys[1], 11));
  EXPECT_FALSE(cache.Insert(keys[1], 12));
  EXPECT_THAT(cache.Pin(keys), ElementsAre(10, 11));
  EXPECT_THAT(cache.Pin(std::span(keys).subspan(1)), ElementsAre(11));
  EXPECT_THAT(cache.Pin(std::span(keys).subspan(2)), IsEmpty());
}

TEST(PrefixCache, EvictsUnpinnedLastBlocksFirst) {
  PrefixCache cache;
  const std::vector<BlockKey> a = {Key(1), Key(2)};
  const std::vector<BlockKey> b = {Key(3), Key(4)};
  for (int i = 0; i < 2; ++i) cache.Insert(a[static_cast<size_t>(i)], 10 + i);
  for (int i = 0; i < 2; ++i) cache.Insert(b[static_cast<size_t>(i)], 20 + i);
  EXPECT_THAT(cache.Evict(9), IsEmpty());  // all are in use
  cache.Unpin(a);
  cache.Unpin(b);
  EXPECT_EQ(cache.num_unpinned(), 4);
  // a is used again: b goes first, and of b its last block.
  EXPECT_THAT(cache.Pin(b), ElementsAre(20, 21));
  cache.Unpin(b);
  EXPECT_THAT(cache.Pin(a), ElementsAre(10, 11));
  cache.Unpin(a);
  EXPECT_THAT(cache.Evict(1), ElementsAre(21));
  EXPECT_THAT(cache.Evict(9), ElementsAre(20, 11, 10));
  EXPECT_EQ(cache.num_blocks(), 0);
}

TEST(KvCache, LayersOfABlockLieTogether) {
  LanguageConfig config;
  config.num_hidden_layers = 3;
  config.kv_lora_rank = 8;
  config.qk_rope_head_dim = 4;
  const std::unique_ptr<Ops> ops = MakeRefOps();
  const CacheShape shape = MakeCacheShape(config);
  EXPECT_EQ(ops->CacheBlockBytes(shape), 3 * 64 * 12 * 4);
  const std::unique_ptr<PagedCache> cache = ops->MakeCache(shape, 5);
  EXPECT_EQ(cache->layer(1).block(2) - cache->layer(0).block(2), 64 * 12 * 4);
  EXPECT_EQ(cache->layer(0).block(1) - cache->layer(0).block(0), 3 * 64 * 12 * 4);
  for (int64_t layer = 0; layer < 3; ++layer) {
    std::fill_n(CacheBlock(cache->layer(layer), 4).floats(), 64 * 12,
                static_cast<float>(layer + 1));
    std::fill_n(CacheBlock(cache->layer(layer), 3).floats(), 64 * 12, 0.0f);
  }
  ops->CopyBlock(*cache, 4, 3);
  EXPECT_EQ(CacheBlock(cache->layer(2), 3).floats()[64 * 12 - 1], 3.0f);
}

}  // namespace
}  // namespace vl2
