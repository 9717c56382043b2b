#include "lm_service/model/decoder_layer.h"

#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr double kLatentNormEps = 1e-6;  // DeepseekV2RMSNorm's default, which the config never sets

}  // namespace

DecoderLayer DecoderLayer::Load(const LanguageConfig& config, int64_t index, WeightLoader& loader) {
  const std::string name = Cat("language.model.layers.", index);
  const std::string attention = name + ".self_attn";
  const bool bias = config.attention_bias;
  DecoderLayer layer;
  layer.index_ = index;
  layer.input_norm_ = loader.RmsNorm(name + ".input_layernorm", config.rms_norm_eps);
  layer.post_attention_norm_ =
      loader.RmsNorm(name + ".post_attention_layernorm", config.rms_norm_eps);
  if (!config.use_mla) {
    layer.joined_ = loader.JoinedLinear({{attention + ".q_proj", bias},
                                         {attention + ".k_proj", bias},
                                         {attention + ".v_proj", bias}});
  } else {
    const std::string kv_a = attention + ".kv_a_proj_with_mqa";
    if (config.q_lora_rank) {
      layer.joined_ = loader.JoinedLinear({{attention + ".q_a_proj", bias}, {kv_a, bias}});
      layer.q_a_norm_ = loader.RmsNorm(attention + ".q_a_layernorm", kLatentNormEps);
      layer.q_b_ = loader.Linear(attention + ".q_b_proj", false);
    } else {
      layer.joined_ = loader.JoinedLinear({{attention + ".q_proj", false}, {kv_a, bias}});
    }
    layer.kv_a_norm_ = loader.RmsNorm(attention + ".kv_a_layernorm", kLatentNormEps);
    layer.kv_b_ =
        loader.Latent(attention + ".kv_b_proj", {.num_heads = config.num_attention_heads,
                                                 .kv_lora_rank = config.kv_lora_rank,
                                                 .qk_nope_head_dim = config.qk_nope_head_dim,
                                                 .qk_rope_head_dim = config.qk_rope_head_dim,
                                                 .v_head_dim = config.v_head_dim});
  }
  layer.o_ = loader.Linear(attention + ".o_proj", bias);
  if (!config.IsMoeLayer(index)) {
    layer.mlp_ = loader.Mlp(name + ".mlp");
    return layer;
  }
  layer.gate_ = loader.Linear(name + ".mlp.gate", false).weight;
  if (config.topk_method == "noaux_tc") {
    layer.correction_bias_ = loader.Vector(name + ".mlp.gate.e_score_correction_bias");
  }
  layer.experts_ =
      loader.Experts(name + ".mlp", *config.n_routed_experts, config.n_shared_experts.has_value());
  return layer;
}

void DecoderLayer::Forward(const LayerContext& context, PagedLayer cache, Matrix x) const {
  if (context.config.use_mla) {
    LatentAttention(context, cache, x);
  } else {
    MultiHeadAttention(context, cache, x);
  }
  FeedForward(context, x);
}

void DecoderLayer::MultiHeadAttention(const LayerContext& context, PagedLayer cache,
                                      Matrix x) const {
  const LanguageConfig& config = context.config;
  const int64_t head_dim = config.qk_head_dim();
  const int64_t q_cols = config.num_attention_heads * head_dim;
  const int64_t kv_cols = config.num_key_value_heads * head_dim;
  const Matrix normed = context.scratch.normed.Resize(x.rows, x.cols);
  const Matrix joined = context.scratch.joined.Resize(x.rows, q_cols + 2 * kv_cols);
  const Matrix attended = context.scratch.attended.Resize(x.rows, q_cols);

  input_norm_.Forward(context.ops, x, normed);
  joined_.Forward(context.ops, normed, joined);  // [tokens, q + k + v]
  context.ops.Rotary({.x = joined,               // queries and keys lie side by side
                      .num_heads = config.num_attention_heads + config.num_key_value_heads,
                      .head_stride = head_dim,
                      .offset = 0,
                      .batch = &context.batch,
                      .table = &context.rotary,
                      .layout = RotaryLayout::kHalves});
  context.ops.WriteKeysValues({.keys = joined.Cols(q_cols, kv_cols),
                               .values = joined.Cols(q_cols + kv_cols, kv_cols),
                               .num_kv_heads = config.num_key_value_heads,
                               .head_dim = head_dim,
                               .batch = &context.batch,
                               .cache = cache});
  context.ops.CausalAttention({.q = joined.Cols(0, q_cols),
                               .num_heads = config.num_attention_heads,
                               .num_kv_heads = config.num_key_value_heads,
                               .head_dim = head_dim,
                               .scale = context.softmax_scale,
                               .batch = &context.batch,
                               .cache = cache,
                               .out = attended});
  o_.Forward(context.ops, attended, x, Activation::kNone, x);  // [tokens, hidden]
}

void DecoderLayer::LatentAttention(const LayerContext& context, PagedLayer cache, Matrix x) const {
  const LanguageConfig& config = context.config;
  const int64_t rank = config.kv_lora_rank;
  const int64_t rope = config.qk_rope_head_dim;
  const int64_t q_cols = config.num_attention_heads * config.qk_head_dim();
  const int64_t first_cols = config.q_lora_rank.value_or(q_cols);
  const Matrix normed = context.scratch.normed.Resize(x.rows, x.cols);
  const Matrix joined = context.scratch.joined.Resize(x.rows, first_cols + rank + rope);
  const Matrix attended =
      context.scratch.attended.Resize(x.rows, config.num_attention_heads * config.v_head_dim);

  input_norm_.Forward(context.ops, x, normed);
  joined_.Forward(context.ops, normed, joined);  // [tokens, q or q_a + latent + k_pe]
  Matrix q = joined.Cols(0, first_cols);
  if (config.q_lora_rank) {
    q_a_norm_.Forward(context.ops, q, q);
    const Matrix queries = context.scratch.queries.Resize(x.rows, q_cols);
    q_b_.Forward(context.ops, q, queries);  // [tokens, heads · (nope + rope)]
    q = queries;
  }
  const Matrix latent = joined.Cols(first_cols, rank);
  kv_a_norm_.Forward(context.ops, latent, latent);
  context.ops.Rotary({.x = q,
                      .num_heads = config.num_attention_heads,
                      .head_stride = config.qk_head_dim(),
                      .offset = config.qk_nope_head_dim,
                      .batch = &context.batch,
                      .table = &context.rotary,
                      .layout = RotaryLayout::kInterleaved});
  context.ops.Rotary({.x = joined.Cols(first_cols + rank, rope),  // one key for all heads
                      .num_heads = 1,
                      .head_stride = rope,
                      .offset = 0,
                      .batch = &context.batch,
                      .table = &context.rotary,
                      .layout = RotaryLayout::kInterleaved});
  context.ops.WriteLatents(
      {.latents = joined.Cols(first_cols, rank + rope), .batch = &context.batch, .cache = cache});
  context.ops.LatentAttention({.q = q,
                               .weight = kv_b_.get(),
                               .scale = context.softmax_scale,
                               .batch = &context.batch,
                               .cache = cache,
                               .out = attended});
  o_.Forward(context.ops, attended, x, Activation::kNone, x);  // [tokens, hidden]
}

void DecoderLayer::FeedForward(const LayerContext& context, Matrix x) const {
  DecoderScratch& scratch = context.scratch;
  const Matrix normed = scratch.normed.Resize(x.rows, x.cols);
  post_attention_norm_.Forward(context.ops, x, normed);
  if (experts_ == nullptr) {
    mlp_.Forward(context.ops, normed, scratch.inner.Resize(x.rows, mlp_.width()), x, x);
    return;
  }
  const int top_k = context.router.top_k;
  const Matrix ids = scratch.expert_ids.Resize(x.rows, top_k);
  const Matrix weights = scratch.expert_weights.Resize(x.rows, top_k);
  context.ops.Route({.x = normed,
                     .weight = gate_.get(),
                     .correction_bias = OrNull(correction_bias_),
                     .config = &context.router,
                     .expert_ids = ids,
                     .expert_weights = weights});
  ShowExperts(context.tap, index_, ids, weights);
  context.ops.Moe({.x = normed,
                   .expert_ids = ids,
                   .expert_weights = weights,
                   .weight = experts_.get(),
                   .residual = x,
                   .out = x});
}

}  // namespace vl2
