#include "runtime/checkpoint/config.h"

#include <algorithm>

#include "runtime/base/status.h"
#include "runtime/checkpoint/config_keys.h"
#include "runtime/checkpoint/rope_config.h"

namespace vl2 {
namespace {

// Bounds of every size: far above any published model, far below overflow of products in int64.
constexpr int64_t kMaxWidth = 1 << 17;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxExperts = 1024;
constexpr int64_t kMaxContext = 1 << 20;
constexpr int64_t kMaxImageSide = 4096;
constexpr size_t kMaxCandidates = 1024;
constexpr int64_t kMaxTilesASide = 64;

const Json& EmptyObject() {
  static const Json* const empty = new Json(Json::object());
  return *empty;
}

// The object under `key`, or an empty one.
absl::StatusOr<const Json*> Section(const JsonFields& fields, const char* key) {
  const Json* section = fields.Find(key);
  if (section == nullptr) return &EmptyObject();
  if (!section->is_object()) {
    return InvalidArgument(fields.context(), ".", key, ": found a value of type ",
                           section->type_name(), ", expected an object");
  }
  return section;
}

absl::StatusOr<std::optional<int64_t>> OptionalInt(const JsonFields& fields, const char* key,
                                                   int64_t min, int64_t max) {
  if (!fields.Has(key)) return std::optional<int64_t>();
  VL2_ASSIGN_OR_RETURN(const int64_t value, fields.Int(key, std::nullopt, min, max));
  return std::optional<int64_t>(value);
}

// An integer field kept where it is; its present value is the default.
absl::Status ReadInt(const JsonFields& fields, const char* key, int64_t min, int64_t max,
                     int64_t& field) {
  VL2_ASSIGN_OR_RETURN(field, fields.Int(key, field, min, max));
  return absl::OkStatus();
}

absl::Status RequireString(const JsonFields& fields, const char* key, const char* only) {
  VL2_ASSIGN_OR_RETURN(const std::string value, fields.String(key, only));
  if (value == only) return absl::OkStatus();
  return InvalidArgument(fields.context(), ".", key, ": \"", value, "\" is not supported, only \"",
                         only, "\"");
}

absl::StatusOr<CandidateResolutions> ParseResolutions(const JsonFields& fields,
                                                      int64_t image_size) {
  const Json* list = fields.Find("candidate_resolutions");
  const std::string name = fields.context() + ".candidate_resolutions";
  if (list == nullptr) return InvalidArgument(name, ": missing");
  if (!list->is_array() || list->empty() || list->size() > kMaxCandidates) {
    return InvalidArgument(name, ": expected a list of 1 to ", kMaxCandidates, " pairs, found ",
                           list->is_array() ? Cat(list->size()) : list->type_name());
  }
  CandidateResolutions resolutions;
  for (const Json& pair : *list) {
    const bool is_pair = pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() &&
                         pair[1].is_number_integer();
    if (!is_pair) return InvalidArgument(name, ": ", pair.dump(), " is not [width, height]");
    const auto width = pair[0].get<int64_t>();
    const auto height = pair[1].get<int64_t>();
    const int64_t max = image_size * kMaxTilesASide;
    if (width <= 0 || height <= 0 || width > max || height > max || width % image_size != 0 ||
        height % image_size != 0) {
      return InvalidArgument(name, ": ", pair.dump(), " is not made of 1 to ", kMaxTilesASide,
                             " tiles of ", image_size, " a side");
    }
    resolutions.emplace_back(static_cast<int>(width), static_cast<int>(height));
  }
  return resolutions;
}

absl::StatusOr<VisionConfig> ParseVision(const JsonFields& fields) {
  VisionConfig config;
  VL2_RETURN_IF_ERROR(ReadInt(fields, "image_size", 1, kMaxImageSide, config.image_size));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "patch_size", 1, config.image_size, config.patch_size));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "width", 1, kMaxWidth, config.width));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "layers", 1, kMaxLayers, config.layers));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "heads", 1, kMaxHeads, config.heads));
  VL2_ASSIGN_OR_RETURN(config.mlp_ratio, fields.Double("mlp_ratio", config.mlp_ratio, 0.01, 64));
  VL2_ASSIGN_OR_RETURN(const bool class_token, fields.Bool("class_token", false));
  VL2_RETURN_IF_ERROR(CheckVisionKeys(fields));
  if (class_token) return InvalidArgument(fields.context(), ".class_token: true is not supported");
  if (config.width % config.heads != 0) {
    return InvalidArgument(fields.context(), ".heads: ", config.heads, " does not divide width ",
                           config.width);
  }
  if (config.mlp_width() < 1) {
    return InvalidArgument(fields.context(), ".mlp_ratio: ", config.mlp_ratio, " times width ",
                           config.width, " is below 1");
  }
  return config;
}

absl::StatusOr<ProjectorConfig> ParseProjector(const JsonFields& fields) {
  ProjectorConfig config;
  VL2_RETURN_IF_ERROR(RequireString(fields, "projector_type", "downsample_mlp_gelu"));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "input_dim", 1, kMaxWidth, config.input_dim));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "n_embed", 1, kMaxWidth, config.n_embed));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "depth", 2, 16, config.depth));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "mlp_ratio", 1, 64, config.mlp_ratio));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "downsample_ratio", 1, 16, config.downsample_ratio));
  VL2_ASSIGN_OR_RETURN(const bool token_pooling, fields.Bool("token_pooling", false));
  if (token_pooling) {
    return InvalidArgument(fields.context(), ".token_pooling: true is not supported");
  }
  return config;
}

// Sizes of attention: of the latent form, or of the plain one.
absl::Status ParseAttention(const JsonFields& fields, LanguageConfig& config) {
  VL2_ASSIGN_OR_RETURN(config.use_mla, fields.Bool("use_mla", true));
  VL2_RETURN_IF_ERROR(
      ReadInt(fields, "num_attention_heads", 1, kMaxHeads, config.num_attention_heads));
  config.num_key_value_heads = config.num_attention_heads;
  VL2_RETURN_IF_ERROR(
      ReadInt(fields, "num_key_value_heads", 1, kMaxHeads, config.num_key_value_heads));
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    return InvalidArgument(fields.context(), ".num_key_value_heads: ", config.num_key_value_heads,
                           " does not divide num_attention_heads ", config.num_attention_heads);
  }
  VL2_ASSIGN_OR_RETURN(config.attention_bias, fields.Bool("attention_bias", false));
  if (!config.use_mla) {
    // The latent sizes mean nothing here; published files hold zeros.
    const int64_t head_dim = config.hidden_size / config.num_attention_heads;
    if (config.hidden_size % config.num_attention_heads != 0 || head_dim % 2 != 0) {
      return InvalidArgument(fields.context(), ".num_attention_heads: hidden_size ",
                             config.hidden_size, " does not divide into ",
                             config.num_attention_heads, " heads of even size");
    }
    return absl::OkStatus();
  }
  // A null q_lora_rank means none; an absent one the default.
  const Json* q_lora_rank = fields.Find("q_lora_rank");
  if (q_lora_rank != nullptr) {
    VL2_ASSIGN_OR_RETURN(config.q_lora_rank, OptionalInt(fields, "q_lora_rank", 1, kMaxWidth));
  } else if (fields.HasNull("q_lora_rank")) {
    config.q_lora_rank.reset();
  }
  VL2_RETURN_IF_ERROR(ReadInt(fields, "kv_lora_rank", 1, kMaxWidth, config.kv_lora_rank));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "qk_rope_head_dim", 2, kMaxWidth, config.qk_rope_head_dim));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "qk_nope_head_dim", 1, kMaxWidth, config.qk_nope_head_dim));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "v_head_dim", 1, kMaxWidth, config.v_head_dim));
  if (config.qk_rope_head_dim % 2 != 0) {
    return InvalidArgument(fields.context(), ".qk_rope_head_dim: ", config.qk_rope_head_dim,
                           " is not even");
  }
  return absl::OkStatus();
}

absl::Status ParseRouter(const JsonFields& fields, LanguageConfig& config) {
  VL2_ASSIGN_OR_RETURN(config.n_routed_experts,
                       OptionalInt(fields, "n_routed_experts", 1, kMaxExperts));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "moe_layer_freq", 1, kMaxLayers, config.moe_layer_freq));
  VL2_RETURN_IF_ERROR(
      ReadInt(fields, "first_k_dense_replace", 0, kMaxLayers, config.first_k_dense_replace));
  if (!config.n_routed_experts.has_value()) return absl::OkStatus();

  const int64_t experts = *config.n_routed_experts;
  VL2_RETURN_IF_ERROR(
      ReadInt(fields, "moe_intermediate_size", 1, kMaxWidth, config.moe_intermediate_size));
  VL2_ASSIGN_OR_RETURN(config.n_shared_experts, OptionalInt(fields, "n_shared_experts", 1, 64));
  VL2_ASSIGN_OR_RETURN(config.num_experts_per_tok, fields.Int("num_experts_per_tok", std::nullopt,
                                                              1, std::min<int64_t>(experts, 64)));
  VL2_ASSIGN_OR_RETURN(config.norm_topk_prob, fields.Bool("norm_topk_prob", false));
  VL2_ASSIGN_OR_RETURN(config.routed_scaling_factor,
                       fields.Double("routed_scaling_factor", 1, -1e6, 1e6));
  VL2_ASSIGN_OR_RETURN(config.scoring_func, fields.String("scoring_func", config.scoring_func));
  if (config.scoring_func != "softmax" && config.scoring_func != "sigmoid") {
    return InvalidArgument(fields.context(), ".scoring_func: \"", config.scoring_func,
                           "\" is not one of softmax, sigmoid");
  }
  VL2_ASSIGN_OR_RETURN(config.topk_method, fields.String("topk_method", config.topk_method));
  const bool grouped =
      config.topk_method == "group_limited_greedy" || config.topk_method == "noaux_tc";
  if (!grouped && config.topk_method != "greedy") {
    return InvalidArgument(fields.context(), ".topk_method: \"", config.topk_method,
                           "\" is not one of greedy, group_limited_greedy, noaux_tc");
  }
  if (!grouped) return absl::OkStatus();
  VL2_ASSIGN_OR_RETURN(config.n_group, fields.Int("n_group", std::nullopt, 1, experts));
  VL2_ASSIGN_OR_RETURN(config.topk_group,
                       fields.Int("topk_group", std::nullopt, 1, *config.n_group));
  if (experts % *config.n_group != 0) {
    return InvalidArgument(fields.context(), ".n_group: ", *config.n_group,
                           " does not divide n_routed_experts ", experts);
  }
  if (config.topk_method == "noaux_tc" && experts / *config.n_group < 2) {
    return InvalidArgument(fields.context(), ".n_group: ", *config.n_group, " groups of ", experts,
                           " experts leave fewer than 2 a group, which noaux_tc needs");
  }
  return absl::OkStatus();
}

absl::StatusOr<LanguageConfig> ParseLanguage(const JsonFields& fields,
                                             std::vector<std::string>& unknown_keys) {
  LanguageConfig config;
  VL2_RETURN_IF_ERROR(ReadInt(fields, "vocab_size", 1, kMaxVocab, config.vocab_size));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "hidden_size", 1, kMaxWidth, config.hidden_size));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "intermediate_size", 1, kMaxWidth, config.intermediate_size));
  VL2_RETURN_IF_ERROR(
      ReadInt(fields, "num_hidden_layers", 1, kMaxLayers, config.num_hidden_layers));
  VL2_RETURN_IF_ERROR(
      ReadInt(fields, "max_position_embeddings", 1, kMaxContext, config.max_position_embeddings));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "bos_token_id", 0, kMaxVocab, config.bos_token_id));
  VL2_RETURN_IF_ERROR(ReadInt(fields, "eos_token_id", 0, kMaxVocab, config.eos_token_id));
  VL2_RETURN_IF_ERROR(RequireString(fields, "hidden_act", "silu"));
  VL2_ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Double("rms_norm_eps", 1e-6, 1e-12, 1));
  VL2_ASSIGN_OR_RETURN(const RopeConfig rope, ParseRope(fields, unknown_keys));
  config.rope_theta = rope.theta;
  config.rope_scaling = rope.scaling;
  VL2_ASSIGN_OR_RETURN(config.tie_word_embeddings, fields.Bool("tie_word_embeddings", false));
  VL2_RETURN_IF_ERROR(ParseAttention(fields, config));
  VL2_RETURN_IF_ERROR(ParseRouter(fields, config));
  if (!config.use_mla && config.rope_scaling &&
      config.rope_scaling->type == RopeScaling::Type::kYarn) {
    return InvalidArgument(fields.context(),
                           ".rope_scaling.type: \"yarn\" is not supported where use_mla is false");
  }
  VL2_RETURN_IF_ERROR(CheckLanguageKeys(fields, config));
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const Json& json, const std::string& context) {
  if (!json.is_object()) return InvalidArgument(context, ": expected an object");
  const JsonFields fields(json, context);
  ModelConfig config;
  VL2_RETURN_IF_ERROR(CheckTopKeys(fields));
  VL2_ASSIGN_OR_RETURN(const Json* vision, Section(fields, "vision_config"));
  VL2_ASSIGN_OR_RETURN(const Json* projector, Section(fields, "projector_config"));
  VL2_ASSIGN_OR_RETURN(const Json* language, Section(fields, "language_config"));
  const JsonFields vision_fields(*vision, context + ": vision_config");
  const JsonFields projector_fields(*projector, context + ": projector_config");
  const JsonFields language_fields(*language, context + ": language_config");
  VL2_ASSIGN_OR_RETURN(config.vision_config, ParseVision(vision_fields));
  VL2_ASSIGN_OR_RETURN(config.projector_config, ParseProjector(projector_fields));
  VL2_ASSIGN_OR_RETURN(config.language_config, ParseLanguage(language_fields, config.unknown_keys));
  NoteUnknownKeys(fields, json, ConfigSection::kTop, config.unknown_keys);
  NoteUnknownKeys(vision_fields, *vision, ConfigSection::kVision, config.unknown_keys);
  NoteUnknownKeys(projector_fields, *projector, ConfigSection::kProjector, config.unknown_keys);
  NoteUnknownKeys(language_fields, *language, ConfigSection::kLanguage, config.unknown_keys);

  VL2_ASSIGN_OR_RETURN(const std::string tile_tag, fields.String("tile_tag", "tile_tag"));
  if (tile_tag != "2D") {
    return InvalidArgument(context, ".tile_tag: \"", tile_tag, "\" is not supported, only \"2D\"");
  }
  VL2_RETURN_IF_ERROR(RequireString(fields, "global_view_pos", "head"));
  VL2_ASSIGN_OR_RETURN(config.candidate_resolutions,
                       ParseResolutions(fields, config.vision_config.image_size));

  const auto& projector_config = config.projector_config;
  if (projector_config.input_dim != config.vision_config.width) {
    return InvalidArgument(context, ": projector_config.input_dim ", projector_config.input_dim,
                           " differs from vision_config.width ", config.vision_config.width);
  }
  if (projector_config.n_embed != config.language_config.hidden_size) {
    return InvalidArgument(context, ": projector_config.n_embed ", projector_config.n_embed,
                           " differs from language_config.hidden_size ",
                           config.language_config.hidden_size);
  }
  return config;
}

absl::StatusOr<ProcessorConfig> ParseProcessorConfig(const Json& json, const std::string& context) {
  if (!json.is_object()) return InvalidArgument(context, ": expected an object");
  const JsonFields fields(json, context);
  ProcessorConfig config;
  VL2_ASSIGN_OR_RETURN(config.patch_size, fields.Int("patch_size", std::nullopt, 1, kMaxImageSide));
  VL2_ASSIGN_OR_RETURN(config.downsample_ratio,
                       fields.Int("downsample_ratio", std::nullopt, 1, 16));
  VL2_ASSIGN_OR_RETURN(config.image_token, fields.String("image_token", config.image_token));
  VL2_ASSIGN_OR_RETURN(config.pad_token, fields.String("pad_token", config.pad_token));
  // The processor takes the first candidate's width as the side of a tile.
  const Json* list = fields.Find("candidate_resolutions");
  if (list == nullptr || !list->is_array() || list->empty() || !(*list)[0].is_array() ||
      (*list)[0].empty() || !(*list)[0][0].is_number_integer()) {
    return InvalidArgument(context, ".candidate_resolutions: expected a list of [width, height]");
  }
  const auto side = (*list)[0][0].get<int64_t>();
  if (side < 1 || side > kMaxImageSide) {
    return InvalidArgument(context, ".candidate_resolutions: first width ", side,
                           " is outside [1, ", kMaxImageSide, "]");
  }
  VL2_ASSIGN_OR_RETURN(config.candidate_resolutions, ParseResolutions(fields, side));
  NoteUnknownKeys(fields, json, ConfigSection::kProcessor, config.unknown_keys);
  return config;
}

}  // namespace vl2
