// Softmax attention: out = softmax(scale · q · kᵀ) · v per head.
//
// CausalAttention  over a multi-head paged cache; a query at position p sees positions 0..p, whose
//                  keys and values are in the cache already.   LlamaAttention, transformers 4.38
// LatentAttention  over a latent paged cache (MLA).           DeepseekV2Attention
// FullAttention    every token of a tile sees every token of it.   Attention in siglip_vit.py
//
// Order: keys are taken in blocks of kBlockTokens from position (token) 0 up. Inside a block a
// score is summed over the head's dimensions in order; blocks are merged in order with the running
// maximum and sum. The order depends on a query's position alone, not on the chunk or the batch.
//
// Latent attention has two forms of the same formula. Prompt positions: keys and values of each
// block are expanded from the latents, k = [W_UK·c, k_pe], v = W_UV·c. Generated positions: the
// query is taken into the latent space (absorbed), q_c = W_UKᵀ·q_nope, scores = q_c·c + q_pe·k_pe,
// out = W_UV·(Σ p·c). Which form a row uses depends on its position alone (SequenceRows).
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/ops/batch.h"
#include "runtime/ops/paged_cache.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

// Checked: num_kv_heads divides num_heads; shapes; the batch's blocks are in the cache.
struct CausalAttentionArgs {
  ConstMatrix q;  // [tokens, num_heads * head_dim], rotated
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  float scale = 0;  // head_dim^-0.5
  const Batch* batch = nullptr;
  PagedLayer cache;
  Matrix out;  // [tokens, num_heads * head_dim]
};

// kv_b_proj of one layer, split per head into W_UK [nope, rank] and W_UV [v, rank], in the layouts
// both forms want. Made by Ops::PackLatent. Immutable.
class LatentWeight {
 public:
  struct Dims {
    int64_t num_heads = 0;
    int64_t kv_lora_rank = 0;
    int64_t qk_nope_head_dim = 0;
    int64_t qk_rope_head_dim = 0;
    int64_t v_head_dim = 0;
  };
  explicit LatentWeight(const Dims& dims) : dims_(dims) {}
  virtual ~LatentWeight() = default;
  const Dims& dims() const { return dims_; }
  virtual size_t num_bytes() const = 0;

 private:
  const Dims dims_;
};

struct LatentAttentionArgs {
  ConstMatrix q;  // [tokens, num_heads * (nope + rope)], rotary part rotated, per head nope first
  const LatentWeight* weight = nullptr;
  float scale = 0;  // (nope + rope)^-0.5, times mscale² where the config asks for it
  const Batch* batch = nullptr;
  PagedLayer cache;
  Matrix out;  // [tokens, num_heads * v_head_dim]
};

// The tower's attention. Columns of qkv: [3][num_heads][head_dim], as one linear layer gives them.
struct FullAttentionArgs {
  ConstMatrix qkv;  // [num_tiles * tokens_per_tile, 3 * num_heads * head_dim]
  int64_t num_tiles = 0;
  int64_t tokens_per_tile = 0;
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  float scale = 0;  // head_dim^-0.5
  Matrix out;       // [num_tiles * tokens_per_tile, num_heads * head_dim]
};

}  // namespace vl2
