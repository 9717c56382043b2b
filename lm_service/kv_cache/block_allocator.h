// BlockAllocator: which blocks of the cache are free.
//
// Sharing is not its business: a block of a shared prefix belongs to the PrefixCache, which pins it
// for its users. Allocation is all or nothing.
// Owns: the free list. Threading: engine thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace vl2 {

class BlockAllocator {
 public:
  explicit BlockAllocator(int64_t num_blocks);

  int64_t num_blocks() const { return static_cast<int64_t>(used_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }

  // `count` blocks; nullopt, and nothing taken, when fewer are free.
  std::optional<std::vector<int32_t>> Allocate(int64_t count);
  // REQUIRES: the block is used.
  void Release(int32_t block);

 private:
  std::vector<int32_t> free_;  // a stack: the block freed last, still warm, goes out first
  std::vector<bool> used_;
};

}  // namespace vl2
