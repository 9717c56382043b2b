// DecoderLayer: one layer of the language model over a ragged batch.
//
// Source: DeepseekV2DecoderLayer (modeling_deepseek.py): RMSNorm, attention, residual; RMSNorm, MLP
// or mixture of experts, residual. Attention is multi-head (LlamaAttention) where use_mla is false,
// latent otherwise. The latent norms' eps is 1e-6 whatever rms_norm_eps says.
//
// Owns: its weights. Threading: engine thread only.
#pragma once

#include <memory>

#include "runtime/checkpoint/config.h"
#include "runtime/nn/layers.h"
#include "runtime/nn/tap.h"
#include "runtime/nn/weight_loader.h"
#include "runtime/ops/ops.h"

namespace vl2 {

// Activations of a step, shared by all layers; each grows to the largest batch seen.
struct DecoderScratch {
  explicit DecoderScratch(Device& device)
      : normed(device),
        joined(device),
        queries(device),
        attended(device),
        inner(device),
        expert_ids(device, DType::kI32),
        expert_weights(device) {}

  GrowingMatrix normed;          // [tokens, hidden]
  GrowingMatrix joined;          // [tokens, joined projections]
  GrowingMatrix queries;         // [tokens, heads · qk_head_dim], latent with q_lora_rank
  GrowingMatrix attended;        // [tokens, heads · v_head_dim]
  GrowingMatrix inner;           // [tokens, intermediate]
  GrowingMatrix expert_ids;      // [tokens, top_k] int32
  GrowingMatrix expert_weights;  // [tokens, top_k]
};

// What every layer sees of a step.
struct LayerContext {
  Ops& ops;
  const LanguageConfig& config;
  const RotaryTable& rotary;
  const RouterConfig& router;
  float softmax_scale;
  const Batch& batch;
  DecoderScratch& scratch;
  Tap* tap;
};

class DecoderLayer {
 public:
  static DecoderLayer Load(const LanguageConfig& config, int64_t index, WeightLoader& loader);

  // x += attention(norm(x)); x += mlp(norm(x)). Writes the batch's keys and values (latents) into
  // `cache` on the way.
  void Forward(const LayerContext& context, PagedLayer cache,
               Matrix x) const;  // [tokens, hidden], in place

 private:
  void MultiHeadAttention(const LayerContext& context, PagedLayer cache, Matrix x) const;
  void LatentAttention(const LayerContext& context, PagedLayer cache, Matrix x) const;
  void FeedForward(const LayerContext& context, Matrix x) const;

  int64_t index_ = 0;
  RmsNormLayer input_norm_;
  RmsNormLayer post_attention_norm_;
  // Projections of the normed input, joined: [q, k, v] multi-head; [q or q_a, kv_a] latent.
  LinearLayer joined_;
  RmsNormLayer q_a_norm_;   // latent with q_lora_rank
  LinearLayer q_b_;         // latent with q_lora_rank
  RmsNormLayer kv_a_norm_;  // latent
  std::unique_ptr<LatentWeight> kv_b_;
  LinearLayer o_;

  GatedMlp mlp_;  // dense layers
  // Layers with experts.
  std::unique_ptr<LinearWeight> gate_;
  DeviceTensor correction_bias_;
  std::unique_ptr<MoeWeight> experts_;
};

}  // namespace vl2
