#include "lm_service/kv_cache/kv_cache.h"

namespace vl2 {

CacheShape MakeCacheShape(const LanguageConfig& config, DType dtype) {
  CacheShape shape = {.num_layers = config.num_hidden_layers, .dtype = dtype};
  if (config.use_mla) {
    shape.latent_width = config.kv_lora_rank + config.qk_rope_head_dim;
  } else {
    shape.num_kv_heads = config.num_key_value_heads;
    shape.head_dim = config.qk_head_dim();
  }
  return shape;
}

}  // namespace vl2
