#include "lm_service/kv_cache/block_allocator.h"

#include "runtime/base/check.h"

namespace vl2 {

BlockAllocator::BlockAllocator(int64_t num_blocks) : used_(static_cast<size_t>(num_blocks), false) {
  for (int64_t block = num_blocks - 1; block >= 0; --block) {
    free_.push_back(static_cast<int32_t>(block));
  }
}

std::optional<std::vector<int32_t>> BlockAllocator::Allocate(int64_t count) {
  VL2_CHECK(count >= 0) << count;
  if (count > num_free()) return std::nullopt;
  std::vector<int32_t> blocks;
  blocks.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    blocks.push_back(free_.back());
    free_.pop_back();
    used_[static_cast<size_t>(blocks.back())] = true;
  }
  return blocks;
}

void BlockAllocator::Release(int32_t block) {
  VL2_CHECK(used_[static_cast<size_t>(block)]) << "block " << block << " is free";
  used_[static_cast<size_t>(block)] = false;
  free_.push_back(block);
}

}  // namespace vl2
