// KvCache: the memory of the paged cache, all layers of a block together.
//
// Multi-head layers hold keys and values, latent layers one latent and one rotated key per token:
// see runtime/ops/paged_cache.h for the layout inside a block.
//
// Owns: the memory, reserved at once; a page of it costs nothing until a token is written.
// Threading: engine thread only.
#pragma once

#include <cstdint>

#include "runtime/base/aligned_buffer.h"
#include "runtime/checkpoint/config.h"
#include "runtime/ops/paged_cache.h"

namespace vl2 {

class KvCache {
 public:
  KvCache(const LanguageConfig& config, int64_t num_blocks);

  int64_t num_blocks() const { return num_blocks_; }
  PagedLayer layer(int64_t index) const;

  // Copies a block, all layers.
  void CopyBlock(int32_t from, int32_t to);

  // Bytes that one block takes, all layers.
  static int64_t BlockBytes(const LanguageConfig& config);

 private:
  // Floats of one layer's part of a block.
  static int64_t LayerFloats(const LanguageConfig& config);

  const int64_t num_blocks_;
  const int64_t layer_floats_;
  const int64_t block_floats_;
  AlignedBuffer memory_;
};

// Blocks needed for `num_tokens` tokens.
constexpr int64_t BlocksFor(int64_t num_tokens) {
  return (num_tokens + kBlockTokens - 1) / kBlockTokens;
}

}  // namespace vl2
