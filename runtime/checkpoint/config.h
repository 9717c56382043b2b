// The configuration of a published DeepSeek-VL2 checkpoint: config.json and processor_config.json.
//
// Field names are the files' keys. A key that is left out takes the default of the published
// configuration code (configuration_deepseek.py, modeling_deepseek_vl_v2.py); Base's own file, for
// one, leaves out its layers, heads and latent rank. What this project does not implement is
// refused here with the key and the value, never at the first request; keys that it does not know
// are listed, because they may matter. Every size is bounded, so
// that later arithmetic on them cannot overflow.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/json.h"
#include "runtime/checkpoint/rope_config.h"

namespace vl2 {

// [width, height] in pixels, in the order of the file: the first of equals wins.
using CandidateResolutions = std::vector<std::pair<int, int>>;

struct VisionConfig {
  int64_t image_size = 384;
  int64_t patch_size = 16;
  int64_t width = 1024;
  int64_t layers = 24;
  int64_t heads = 16;
  double mlp_ratio = 4;

  int64_t mlp_width() const { return static_cast<int64_t>(static_cast<double>(width) * mlp_ratio); }
  // Patches along one side of a tile; a remainder of pixels is not used.
  int64_t grid() const { return image_size / patch_size; }
  int64_t num_patches() const { return grid() * grid(); }
  int64_t head_dim() const { return width / heads; }
};

struct ProjectorConfig {
  int64_t input_dim = 1152;
  int64_t n_embed = 2048;
  int64_t depth = 2;
  int64_t mlp_ratio = 1;
  int64_t downsample_ratio = 2;
};

struct LanguageConfig {
  int64_t vocab_size = 102400;
  int64_t hidden_size = 4096;
  int64_t intermediate_size = 11008;
  int64_t moe_intermediate_size = 1407;
  int64_t num_hidden_layers = 30;
  int64_t num_attention_heads = 32;
  int64_t num_key_value_heads = 32;
  std::optional<int64_t> n_shared_experts;
  std::optional<int64_t> n_routed_experts;
  double routed_scaling_factor = 1;
  int64_t kv_lora_rank = 512;
  std::optional<int64_t> q_lora_rank = 1536;  // null in a file: the queries are not compressed
  int64_t qk_rope_head_dim = 64;
  int64_t v_head_dim = 128;
  int64_t qk_nope_head_dim = 128;
  std::string topk_method = "gready";  // the published default, an unknown word: files set it
  std::optional<int64_t> n_group;
  std::optional<int64_t> topk_group;
  std::optional<int64_t> num_experts_per_tok;
  int64_t moe_layer_freq = 1;
  int64_t first_k_dense_replace = 0;
  bool norm_topk_prob = false;
  std::string scoring_func = "softmax";
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  int64_t bos_token_id = 100000;
  int64_t eos_token_id = 100001;
  bool tie_word_embeddings = false;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  bool attention_bias = false;
  bool use_mla = true;

  bool IsMoeLayer(int64_t layer) const {
    return n_routed_experts.has_value() && layer >= first_k_dense_replace &&
           layer % moe_layer_freq == 0;
  }
  // Values of one head that are rotated: all of them in plain multi-head attention.
  int64_t rope_dim() const {
    return use_mla ? qk_rope_head_dim : hidden_size / num_attention_heads;
  }
  // Query and key values of one head.
  int64_t qk_head_dim() const {
    return use_mla ? qk_nope_head_dim + qk_rope_head_dim : hidden_size / num_attention_heads;
  }
};

struct ModelConfig {
  VisionConfig vision_config;
  ProjectorConfig projector_config;
  LanguageConfig language_config;
  CandidateResolutions candidate_resolutions;
  std::vector<std::string> unknown_keys;  // of the file, with their path

  // Embeddings along one side of a tile: 14 for the published checkpoints.
  int64_t tile_side() const {
    const int64_t ratio = projector_config.downsample_ratio;
    return (vision_config.grid() + ratio - 1) / ratio;
  }
};

// What concerns the prompt; the part about pixels is read by vision_service/image.
struct ProcessorConfig {
  CandidateResolutions candidate_resolutions;
  int64_t patch_size = 14;
  int64_t downsample_ratio = 2;
  std::string image_token = "<image>";
  std::string pad_token = "<｜▁pad▁｜>";
  std::vector<std::string> unknown_keys;
};

// `context` (a file name) begins every error.
absl::StatusOr<ModelConfig> ParseModelConfig(const Json& json, const std::string& context);
absl::StatusOr<ProcessorConfig> ParseProcessorConfig(const Json& json, const std::string& context);

}  // namespace vl2
