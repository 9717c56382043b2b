#include "runtime/checkpoint/manifest.h"

#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Collects specs under a prefix.
class SpecList {
 public:
  void Add(const std::string& name, const Shape& shape) { specs_.push_back({name, shape}); }
  // `name`.weight [out, in] and, where asked, `name`.bias [out].
  void AddLinear(const std::string& name, int64_t out, int64_t in, bool bias) {
    Add(name + ".weight", {out, in});
    if (bias) Add(name + ".bias", {out});
  }
  void AddLayerNorm(const std::string& name, int64_t width) {
    Add(name + ".weight", {width});
    Add(name + ".bias", {width});
  }
  void AddMlp(const std::string& name, int64_t hidden, int64_t width) {
    AddLinear(name + ".gate_proj", width, hidden, false);
    AddLinear(name + ".up_proj", width, hidden, false);
    AddLinear(name + ".down_proj", hidden, width, false);
  }
  std::vector<TensorSpec> Take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

void AddVision(const VisionConfig& config, SpecList& list) {
  const int64_t width = config.width;
  const int64_t patch = config.patch_size;
  list.Add("vision.patch_embed.proj.weight", {width, 3, patch, patch});
  list.Add("vision.patch_embed.proj.bias", {width});
  list.Add("vision.pos_embed", {1, config.num_patches(), width});
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string block = Cat("vision.blocks.", i);
    list.AddLayerNorm(block + ".norm1", width);
    list.AddLinear(block + ".attn.qkv", 3 * width, width, true);
    list.AddLinear(block + ".attn.proj", width, width, true);
    list.AddLayerNorm(block + ".norm2", width);
    list.AddLinear(block + ".mlp.fc1", config.mlp_width(), width, true);
    list.AddLinear(block + ".mlp.fc2", width, config.mlp_width(), true);
  }
  list.AddLayerNorm("vision.norm", width);
}

void AddProjector(const ProjectorConfig& config, SpecList& list) {
  const int64_t inner = config.n_embed * config.mlp_ratio;
  int64_t in = config.input_dim * config.downsample_ratio * config.downsample_ratio;
  for (int64_t i = 0; i < config.depth; ++i) {
    const int64_t out = i + 1 == config.depth ? config.n_embed : inner;
    list.AddLinear(Cat("projector.layers.", 2 * i), out, in, true);
    in = out;
  }
}

void AddAttention(const LanguageConfig& config, const std::string& name, SpecList& list) {
  const int64_t hidden = config.hidden_size;
  const int64_t heads = config.num_attention_heads;
  const bool bias = config.attention_bias;
  const int64_t q_out = heads * config.qk_head_dim();
  if (!config.use_mla) {
    const int64_t kv_out = config.num_key_value_heads * config.qk_head_dim();
    list.AddLinear(name + ".q_proj", q_out, hidden, bias);
    list.AddLinear(name + ".k_proj", kv_out, hidden, bias);
    list.AddLinear(name + ".v_proj", kv_out, hidden, bias);
    list.AddLinear(name + ".o_proj", hidden, q_out, bias);
    return;
  }
  if (config.q_lora_rank) {
    list.AddLinear(name + ".q_a_proj", *config.q_lora_rank, hidden, bias);
    list.Add(name + ".q_a_layernorm.weight", {*config.q_lora_rank});
    list.AddLinear(name + ".q_b_proj", q_out, *config.q_lora_rank, false);
  } else {
    list.AddLinear(name + ".q_proj", q_out, hidden, false);
  }
  list.AddLinear(name + ".kv_a_proj_with_mqa", config.kv_lora_rank + config.qk_rope_head_dim,
                 hidden, bias);
  list.Add(name + ".kv_a_layernorm.weight", {config.kv_lora_rank});
  list.AddLinear(name + ".kv_b_proj", heads * (config.qk_nope_head_dim + config.v_head_dim),
                 config.kv_lora_rank, false);
  list.AddLinear(name + ".o_proj", hidden, heads * config.v_head_dim, bias);
}

void AddLanguage(const LanguageConfig& config, SpecList& list) {
  const int64_t hidden = config.hidden_size;
  list.Add("language.model.embed_tokens.weight", {config.vocab_size, hidden});
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = Cat("language.model.layers.", i);
    list.Add(layer + ".input_layernorm.weight", {hidden});
    AddAttention(config, layer + ".self_attn", list);
    list.Add(layer + ".post_attention_layernorm.weight", {hidden});
    if (!config.IsMoeLayer(i)) {
      list.AddMlp(layer + ".mlp", hidden, config.intermediate_size);
      continue;
    }
    list.Add(layer + ".mlp.gate.weight", {*config.n_routed_experts, hidden});
    if (config.topk_method == "noaux_tc") {
      list.Add(layer + ".mlp.gate.e_score_correction_bias", {*config.n_routed_experts});
    }
    for (int64_t e = 0; e < *config.n_routed_experts; ++e) {
      list.AddMlp(Cat(layer, ".mlp.experts.", e), hidden, config.moe_intermediate_size);
    }
    if (config.n_shared_experts) {
      list.AddMlp(layer + ".mlp.shared_experts", hidden,
                  config.moe_intermediate_size * *config.n_shared_experts);
    }
  }
  list.Add("language.model.norm.weight", {hidden});
  if (!config.tie_word_embeddings) {
    list.Add("language.lm_head.weight", {config.vocab_size, hidden});
  }
}

}  // namespace

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  SpecList list;
  AddVision(config.vision_config, list);
  AddProjector(config.projector_config, list);
  list.Add("image_newline", {config.projector_config.n_embed});
  list.Add("view_seperator", {config.projector_config.n_embed});
  AddLanguage(config.language_config, list);
  return list.Take();
}

std::vector<TensorSpec> UnusedPoolingTensors(const ModelConfig& config) {
  const int64_t width = config.vision_config.width;
  const std::string pool = "vision.attn_pool";
  SpecList list;
  list.Add(pool + ".latent", {1, 1, width});
  list.AddLinear(pool + ".q", width, width, true);
  list.AddLinear(pool + ".kv", 2 * width, width, true);
  list.AddLinear(pool + ".proj", width, width, true);
  list.AddLayerNorm(pool + ".norm", width);
  list.AddLinear(pool + ".mlp.fc1", config.vision_config.mlp_width(), width, true);
  list.AddLinear(pool + ".mlp.fc2", width, config.vision_config.mlp_width(), true);
  return list.Take();
}

bool IsIgnoredTensor(std::string_view name) {
  return name.starts_with("vision.attn_pool.") || name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace vl2
