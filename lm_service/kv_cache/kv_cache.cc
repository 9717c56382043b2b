#include "lm_service/kv_cache/kv_cache.h"

#include "runtime/base/status.h"

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

absl::StatusOr<DType> ParseCacheDType(std::string_view value) {
  if (value == "f32") return DType::kF32;
  if (value == "bf16") return DType::kBF16;
  return InvalidArgument("--cache_dtype \"", value, "\" is not one of f32, bf16");
}

}  // namespace vl2
