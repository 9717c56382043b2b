// The paged cache of keys and values.
//
// A block holds kBlockTokens consecutive positions of one sequence for all layers. A sequence's
// block table maps position p to block table[p / kBlockTokens], slot p % kBlockTokens.
// How one layer's part of a block is laid out, and in which type, is the backend's
// (Ops::CacheLayerBytes, Ops::ReadCache).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/base/check.h"
#include "runtime/ops/batch.h"
#include "runtime/tensor/device.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

inline constexpr int64_t kBlockTokens = 64;

// What a token leaves in the cache: rotated keys and values of some heads, or one latent with its
// rotated key (multi-head latent attention).
struct CacheShape {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;  // multi-head
  int64_t head_dim = 0;      // multi-head
  int64_t latent_width = 0;  // latent: kv_lora_rank + qk_rope_head_dim; 0: multi-head
  // kF32, or kBF16: values are rounded to nearest when they are written. Every position is, before
  // anything attends to it, so results stay the same however a prompt is cut and batched.
  DType dtype = DType::kF32;

  bool latent() const { return latent_width > 0; }
  // Values of a token and layer: keys, then as many values; or the latent.
  int64_t key_width() const { return latent() ? latent_width : num_kv_heads * head_dim; }
};

// One layer of the cache. Borrowed.
struct PagedLayer {
  Device* device = nullptr;
  DType dtype = DType::kF32;
  std::byte* data = nullptr;  // the layer's part of block 0
  int64_t block_stride = 0;   // bytes from a block to the next
  int64_t num_blocks = 0;

  std::byte* block(int32_t index) const { return data + index * block_stride; }
};

// The memory, all layers of a block together. Made by Ops::MakeCache; reserved at once.
class PagedCache {
 public:
  PagedCache(Device& device, const CacheShape& shape, int64_t num_blocks, int64_t layer_bytes)
      : shape_(shape),
        num_blocks_(num_blocks),
        layer_bytes_(layer_bytes),
        memory_(device.Allocate(static_cast<size_t>(block_bytes() * num_blocks))) {}

  const CacheShape& shape() const { return shape_; }
  int64_t num_blocks() const { return num_blocks_; }
  int64_t block_bytes() const { return layer_bytes_ * shape_.num_layers; }
  const Buffer& memory() const { return memory_; }
  PagedLayer layer(int64_t index) const {
    VL2_CHECK(index >= 0 && index < shape_.num_layers) << index << " of " << shape_.num_layers;
    return {memory_.device(), shape_.dtype, memory_.bytes() + index * layer_bytes_, block_bytes(),
            num_blocks_};
  }

 private:
  const CacheShape shape_;
  const int64_t num_blocks_;
  const int64_t layer_bytes_;
  Buffer memory_;
};

// Writes rotated keys and values of the batch into a multi-head cache layer.
struct WriteKeysValuesArgs {
  ConstMatrix keys;    // [tokens, num_kv_heads * head_dim]
  ConstMatrix values;  // [tokens, num_kv_heads * head_dim]
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  const Batch* batch = nullptr;
  PagedLayer cache;
};

// Writes normed latents with their rotated keys into a latent cache layer.
struct WriteLatentsArgs {
  ConstMatrix latents;  // [tokens, kv_lora_rank + qk_rope_head_dim]
  const Batch* batch = nullptr;
  PagedLayer cache;
};

// What the cache holds, for tests and tools.
struct ReadCacheArgs {
  const PagedCache* cache = nullptr;
  int64_t layer = 0;
  std::span<const int32_t> block_table;
  std::span<const int64_t> positions;
  HostMatrix keys;    // out [positions, key_width]: keys by head, or latents
  HostMatrix values;  // out, multi-head: [positions, key_width]
};

}  // namespace vl2
