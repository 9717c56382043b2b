// PrefixCache: full blocks of prompts whose keys and values are in the cache, by content.
//
// A block's key is SHA-256 over its parent's key and what the block holds: token ids, or which
// embeddings of which picture. Equal keys therefore mean equal prefixes. Only blocks of prompt
// positions are kept: generated positions use the other form of attention arithmetic.
//
// Owns: its blocks, handed over by Insert and handed back by Evict. Threading: thread-safe, so that
// a request's prefix can be looked up and pinned beside a running step. Limits: at most one entry
// per block of the cache.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/base/sha256.h"

namespace vl2 {

using BlockKey = Sha256Digest;

class PrefixCache {
 public:
  // Pins the longest run of leading keys that is cached; returns their blocks, in order. Each
  // returned block must be unpinned once.
  std::vector<int32_t> Pin(std::span<const BlockKey> keys);
  void Unpin(std::span<const BlockKey> keys);

  // Takes `block` over and pins it once (its sequence still uses it). False, and nothing taken,
  // when the key is there already.
  bool Insert(const BlockKey& key, int32_t block);

  // Gives up at most `count` unpinned blocks, the least recently used first (of one prompt the last
  // block first, so that what stays can still be reached).
  std::vector<int32_t> Evict(int64_t count);

  int64_t num_blocks() const;
  int64_t num_unpinned() const;

 private:
  struct Entry {
    BlockKey key;
    int32_t block = 0;
    int32_t pins = 0;
  };
  struct KeyHash {
    size_t operator()(const BlockKey& key) const {
      size_t hash;
      static_assert(sizeof(hash) <= sizeof(key));
      __builtin_memcpy(&hash, key.data(), sizeof(hash));
      return hash;
    }
  };
  using Entries = std::list<Entry>;

  mutable Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  std::unordered_map<BlockKey, Entries::iterator, KeyHash> by_key_ ABSL_GUARDED_BY(mutex_);
  int64_t num_pinned_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vl2
