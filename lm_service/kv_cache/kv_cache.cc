#include "lm_service/kv_cache/kv_cache.h"

#include <cstring>

namespace vl2 {

int64_t KvCache::LayerFloats(const LanguageConfig& config) {
  if (config.use_mla) return kBlockTokens * (config.kv_lora_rank + config.qk_rope_head_dim);
  return 2 * kBlockTokens * config.num_key_value_heads * config.qk_head_dim();
}

int64_t KvCache::BlockBytes(const LanguageConfig& config) {
  return LayerFloats(config) * config.num_hidden_layers * static_cast<int64_t>(sizeof(float));
}

KvCache::KvCache(const LanguageConfig& config, int64_t num_blocks)
    : num_blocks_(num_blocks),
      layer_floats_(LayerFloats(config)),
      block_floats_(layer_floats_ * config.num_hidden_layers),
      memory_(static_cast<size_t>(BlockBytes(config) * num_blocks)) {}

PagedLayer KvCache::layer(int64_t index) const {
  auto* memory = reinterpret_cast<float*>(const_cast<std::byte*>(memory_.data()));
  return {memory + index * layer_floats_, block_floats_};
}

void KvCache::CopyBlock(int32_t from, int32_t to) {
  VL2_CHECK(from >= 0 && from < num_blocks_ && to >= 0 && to < num_blocks_) << from << " " << to;
  const size_t num_bytes = static_cast<size_t>(block_floats_) * sizeof(float);
  std::byte* memory = memory_.data();
  std::memcpy(memory + static_cast<size_t>(to) * num_bytes,
              memory + static_cast<size_t>(from) * num_bytes, num_bytes);
}

}  // namespace vl2
