// What the language model keeps in the paged cache (runtime/ops/paged_cache.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/checkpoint/config.h"
#include "runtime/ops/paged_cache.h"

namespace vl2 {

// Multi-head layers hold keys and values, latent layers one latent and one rotated key per token.
CacheShape MakeCacheShape(const LanguageConfig& config, DType dtype = DType::kF32);

// A value of --cache_dtype. INVALID_ARGUMENT for anything but f32 and bf16.
absl::StatusOr<DType> ParseCacheDType(std::string_view value);

// Blocks needed for `num_tokens` tokens.
constexpr int64_t BlocksFor(int64_t num_tokens) {
  return (num_tokens + kBlockTokens - 1) / kBlockTokens;
}

}  // namespace vl2
