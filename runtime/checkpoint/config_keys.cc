#include "runtime/checkpoint/config_keys.h"

#include <set>
#include <string_view>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

using Keys = std::set<std::string_view>;

// What transformers writes into every configuration: names, versions, training, and defaults of
// text generation, which requests set here.
const Keys& HarmlessEverywhere() {
  static const auto* const keys = new Keys{"_attn_implementation",
                                           "_attn_implementation_autoset",
                                           "_commit_hash",
                                           "_name_or_path",
                                           "add_cross_attention",
                                           "architectures",
                                           "attn_implementation",
                                           "auto_map",
                                           "bad_words_ids",
                                           "begin_suppress_tokens",
                                           "bos_token_id",
                                           "chunk_size_feed_forward",
                                           "cross_attention_hidden_size",
                                           "decoder_start_token_id",
                                           "diversity_penalty",
                                           "do_sample",
                                           "dtype",
                                           "early_stopping",
                                           "encoder_no_repeat_ngram_size",
                                           "eos_token_id",
                                           "exponential_decay_length_penalty",
                                           "finetuning_task",
                                           "forced_bos_token_id",
                                           "forced_eos_token_id",
                                           "id2label",
                                           "is_decoder",
                                           "is_encoder_decoder",
                                           "label2id",
                                           "length_penalty",
                                           "max_length",
                                           "min_length",
                                           "model_name",
                                           "model_type",
                                           "no_repeat_ngram_size",
                                           "num_beam_groups",
                                           "num_beams",
                                           "num_return_sequences",
                                           "output_attentions",
                                           "output_hidden_states",
                                           "output_scores",
                                           "pad_token_id",
                                           "prefix",
                                           "problem_type",
                                           "pruned_heads",
                                           "remove_invalid_values",
                                           "repetition_penalty",
                                           "return_dict",
                                           "return_dict_in_generate",
                                           "sep_token_id",
                                           "suppress_tokens",
                                           "task_specific_params",
                                           "temperature",
                                           "tf_legacy_loss",
                                           "tie_encoder_decoder",
                                           "tokenizer_class",
                                           "top_k",
                                           "top_p",
                                           "torch_dtype",
                                           "torchscript",
                                           "transformers_version",
                                           "typical_p",
                                           "use_bfloat16"};
  return *keys;
}

// Read by config.cc and below, or without influence on answers.
const Keys& KnownIn(ConfigSection section) {
  static const auto* const top =
      new Keys{"candidate_resolutions", "global_view_pos", "language_config", "projector_config",
               "tie_word_embeddings",   "tile_tag",        "vision_config"};
  // The rest of the published VisionEncoderConfig: training, and the head, which is not used.
  static const auto* const vision = new Keys{
      "class_token", "deterministic",  "global_pool", "heads",       "ignore_head",
      "image_size",  "layers",         "mlp_ratio",   "num_classes", "num_recomputing_layers",
      "patch_size",  "use_checkpoint", "weight_init", "width"};
  static const auto* const projector =
      new Keys{"depth",   "downsample_ratio", "input_dim",    "mlp_ratio",
               "n_embed", "projector_type",   "token_pooling"};
  static const auto* const language = new Keys{"attention_bias",
                                               "attention_dropout",
                                               "aux_loss_alpha",
                                               "ep_size",
                                               "first_k_dense_replace",
                                               "head_dim",
                                               "hidden_act",
                                               "hidden_size",
                                               "initializer_range",
                                               "intermediate_size",
                                               "kv_lora_rank",
                                               "layer_types",
                                               "lm_head",
                                               "max_position_embeddings",
                                               "mlp_bias",
                                               "mlp_layer_types",
                                               "moe_intermediate_size",
                                               "moe_layer_freq",
                                               "n_group",
                                               "n_routed_experts",
                                               "n_shared_experts",
                                               "norm_topk_prob",
                                               "num_attention_heads",
                                               "num_experts_per_tok",
                                               "num_hidden_layers",
                                               "num_key_value_heads",
                                               "output_router_logits",
                                               "pretraining_tp",
                                               "q_lora_rank",
                                               "qk_head_dim",
                                               "qk_nope_head_dim",
                                               "qk_rope_head_dim",
                                               "rm_head",
                                               "rms_norm_eps",
                                               "rope_interleave",
                                               "rope_parameters",
                                               "rope_scaling",
                                               "rope_theta",
                                               "routed_scaling_factor",
                                               "router_aux_loss_coef",
                                               "scoring_func",
                                               "seq_aux",
                                               "tie_word_embeddings",
                                               "topk_group",
                                               "topk_method",
                                               "use_cache",
                                               "use_mla",
                                               "v_head_dim",
                                               "vocab_size"};
  static const auto* const processor = new Keys{
      "add_special_token", "candidate_resolutions", "downsample_ratio", "ignore_id", "image_mean",
      "image_std",         "image_token",           "mask_prompt",      "normalize", "pad_token",
      "patch_size",        "processor_class",       "sft_format"};
  switch (section) {
    case ConfigSection::kTop:
      return *top;
    case ConfigSection::kVision:
      return *vision;
    case ConfigSection::kProjector:
      return *projector;
    case ConfigSection::kLanguage:
      return *language;
    case ConfigSection::kProcessor:
      return *processor;
  }
  return *top;
}

absl::Status RequireInt(const JsonFields& fields, const char* key, int64_t only,
                        const char* because) {
  VL2_ASSIGN_OR_RETURN(const int64_t value, fields.Int(key, only, INT64_MIN, INT64_MAX));
  if (value == only) return absl::OkStatus();
  return InvalidArgument(fields.context(), ".", key, ": ", value, " contradicts ", because, " ",
                         only);
}

absl::Status RequireBool(const JsonFields& fields, const char* key, bool only) {
  VL2_ASSIGN_OR_RETURN(const bool value, fields.Bool(key, only));
  if (value == only) return absl::OkStatus();
  return InvalidArgument(fields.context(), ".", key, ": ", value ? "true" : "false",
                         " is not supported");
}

absl::Status RefuseKeys(const JsonFields& fields, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (fields.Has(key)) return InvalidArgument(fields.context(), ".", key, " is not supported");
  }
  return absl::OkStatus();
}

// The element type under its new name and its old one. Tensors tell their own, so neither is read.
absl::Status CheckDType(const JsonFields& fields) {
  const Json* old_name = fields.Find("torch_dtype");
  const Json* new_name = fields.Find("dtype");
  if (old_name == nullptr || new_name == nullptr || *old_name == *new_name) {
    return absl::OkStatus();
  }
  return InvalidArgument(fields.context(), ".dtype: ", new_name->dump(),
                         " contradicts torch_dtype ", old_name->dump());
}

// A list with a word for each layer that must be what `expected` says.
template <typename Expected>
absl::Status CheckLayerWords(const JsonFields& fields, const char* key, int64_t num_layers,
                             Expected expected) {
  const Json* list = fields.Find(key);
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_array() || static_cast<int64_t>(list->size()) != num_layers) {
    return InvalidArgument(fields.context(), ".", key, ": expected a list of num_hidden_layers ",
                           num_layers, " words");
  }
  for (int64_t i = 0; i < num_layers; ++i) {
    const Json& word = (*list)[static_cast<size_t>(i)];
    if (word == expected(i)) continue;
    return InvalidArgument(fields.context(), ".", key, "[", i, "]: ", word.dump(),
                           " is not supported, only \"", expected(i), "\" for this layer");
  }
  return absl::OkStatus();
}

}  // namespace

void NoteUnknownKeys(const JsonFields& fields, const Json& json, ConfigSection section,
                     std::vector<std::string>& unknown_keys) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_null() || HarmlessEverywhere().contains(key) || KnownIn(section).contains(key)) {
      continue;
    }
    unknown_keys.push_back(fields.context() + "." + key);
  }
}

absl::Status CheckTopKeys(const JsonFields& fields) {
  VL2_RETURN_IF_ERROR(CheckDType(fields));
  // Where newer writers keep the language model's settings; and weights that are not what they say.
  return RefuseKeys(fields, {"text_config", "quantization_config", "rope_parameters"});
}

absl::Status CheckVisionKeys(const JsonFields& fields) {
  VL2_RETURN_IF_ERROR(CheckDType(fields));
  return RequireBool(fields, "ignore_head", true);
}

absl::Status CheckLanguageKeys(const JsonFields& fields, const LanguageConfig& config) {
  VL2_RETURN_IF_ERROR(CheckDType(fields));
  VL2_RETURN_IF_ERROR(RefuseKeys(fields, {"quantization_config", "sliding_window"}));
  VL2_RETURN_IF_ERROR(RequireBool(fields, "mlp_bias", false));
  VL2_RETURN_IF_ERROR(RequireBool(fields, "rope_interleave", true));
  VL2_RETURN_IF_ERROR(CheckLayerWords(fields, "layer_types", config.num_hidden_layers,
                                      [](int64_t) { return "full_attention"; }));
  VL2_RETURN_IF_ERROR(CheckLayerWords(
      fields, "mlp_layer_types", config.num_hidden_layers,
      [&](int64_t layer) { return config.IsMoeLayer(layer) ? "sparse" : "dense"; }));
  if (config.use_mla) {
    VL2_RETURN_IF_ERROR(
        RequireInt(fields, "head_dim", config.qk_rope_head_dim, "qk_rope_head_dim"));
    return RequireInt(fields, "qk_head_dim", config.qk_head_dim(),
                      "qk_nope_head_dim + qk_rope_head_dim");
  }
  return RequireInt(fields, "head_dim", config.qk_head_dim(), "hidden_size / num_attention_heads");
}

}  // namespace vl2
