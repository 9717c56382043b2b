// BlockAllocator: which blocks of the cache are free, and how often each used one is shared.
//
// Blocks are counted: sequences that share a prefix hold the same block. Allocation is all or
// nothing. Owns: the free list and the counts. Threading: engine thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace vl2 {

class BlockAllocator {
 public:
  explicit BlockAllocator(int64_t num_blocks);

  int64_t num_blocks() const { return static_cast<int64_t>(counts_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }

  // `count` blocks, each held once; nullopt, and nothing taken, when fewer are free.
  std::optional<std::vector<int32_t>> Allocate(int64_t count);
  // One more holder of a used block.
  void Share(int32_t block);
  // One holder less; the block is free again when it was the last. REQUIRES: the block is used.
  void Release(int32_t block);
  int32_t holders(int32_t block) const { return counts_[static_cast<size_t>(block)]; }

 private:
  std::vector<int32_t> free_;    // a stack: the block freed last, still warm, goes out first
  std::vector<int32_t> counts_;  // holders of each block
};

}  // namespace vl2
