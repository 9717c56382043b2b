#include "lm_service/kv_cache/prefix_cache.h"

#include <iterator>

#include "runtime/base/check.h"

namespace vl2 {

std::vector<int32_t> PrefixCache::Pin(std::span<const BlockKey> keys) {
  MutexLock lock(&mutex_);
  std::vector<Entries::iterator> chain;
  for (const BlockKey& key : keys) {
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) break;
    chain.push_back(it->second);
  }
  // The first block ends up most recent: what comes later in a prompt is evicted earlier.
  for (auto it = chain.rbegin(); it != chain.rend(); ++it) {
    entries_.splice(entries_.begin(), entries_, *it);
    if ((*it)->pins++ == 0) ++num_pinned_;
  }
  std::vector<int32_t> blocks;
  for (const auto& it : chain) blocks.push_back(it->block);
  return blocks;
}

void PrefixCache::Unpin(std::span<const BlockKey> keys) {
  MutexLock lock(&mutex_);
  for (const BlockKey& key : keys) {
    const auto it = by_key_.find(key);
    VL2_CHECK(it != by_key_.end() && it->second->pins > 0);
    if (--it->second->pins == 0) --num_pinned_;
  }
}

bool PrefixCache::Insert(const BlockKey& key, int32_t block) {
  MutexLock lock(&mutex_);
  if (by_key_.contains(key)) return false;
  entries_.push_front({.key = key, .block = block, .pins = 1});
  by_key_[key] = entries_.begin();
  ++num_pinned_;
  return true;
}

std::vector<int32_t> PrefixCache::Evict(int64_t count) {
  MutexLock lock(&mutex_);
  std::vector<int32_t> blocks;
  for (auto it = entries_.end(); it != entries_.begin();) {
    if (static_cast<int64_t>(blocks.size()) >= count) break;
    --it;
    if (it->pins > 0) continue;
    blocks.push_back(it->block);
    by_key_.erase(it->key);
    it = entries_.erase(it);
  }
  return blocks;
}

int64_t PrefixCache::num_blocks() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(entries_.size());
}

int64_t PrefixCache::num_unpinned() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(entries_.size()) - num_pinned_;
}

}  // namespace vl2
