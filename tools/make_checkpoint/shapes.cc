#include "tools/make_checkpoint/shapes.h"

#include <string>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Every w × h of at most nine 384-pixel tiles, in the published order.
Json CandidateResolutions() {
  static constexpr int kTiles[][2] = {{1, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {1, 4},
                                      {4, 1}, {2, 2}, {1, 5}, {5, 1}, {1, 6}, {6, 1},
                                      {2, 3}, {3, 2}, {1, 7}, {7, 1}, {1, 8}, {8, 1},
                                      {2, 4}, {4, 2}, {1, 9}, {9, 1}, {3, 3}};
  Json list = Json::array();
  for (const auto& [width, height] : kTiles) list.push_back({384 * width, 384 * height});
  return list;
}

// What all three languages share.
Json Language() {
  return {{"architectures", {"DeepseekV2ForCausalLM"}},
          {"bos_token_id", 0},
          {"eos_token_id", 1},
          {"first_k_dense_replace", 1},
          {"max_position_embeddings", 4096},
          {"model_type", "deepseek_v2"},
          {"n_group", 1},
          {"n_shared_experts", 2},
          {"num_experts_per_tok", 6},
          {"q_lora_rank", nullptr},
          {"topk_group", 1},
          {"torch_dtype", "bfloat16"}};
}

Json Tiny() {
  Json language = Language();
  language.update({{"hidden_size", 1280},
                   {"intermediate_size", 6848},
                   {"kv_lora_rank", nullptr},
                   {"moe_intermediate_size", 896},
                   {"n_routed_experts", 64},
                   {"num_attention_heads", 10},
                   {"num_hidden_layers", 12},
                   {"num_key_value_heads", 10},
                   {"qk_nope_head_dim", 0},
                   {"qk_rope_head_dim", 0},
                   {"topk_method", "greedy"},
                   {"use_mla", false},
                   {"v_head_dim", 0},
                   {"vocab_size", 129280}});
  return language;
}

Json Small() {
  Json language = Language();
  language.update({{"hidden_size", 2048},
                   {"intermediate_size", 10944},
                   {"kv_lora_rank", 512},
                   {"moe_intermediate_size", 1408},
                   {"n_routed_experts", 64},
                   {"num_attention_heads", 16},
                   {"num_hidden_layers", 27},
                   {"num_key_value_heads", 16},
                   {"qk_nope_head_dim", 128},
                   {"qk_rope_head_dim", 64},
                   {"topk_method", "greedy"},
                   {"v_head_dim", 128},
                   {"vocab_size", 102400}});
  return language;
}

Json Base() {
  Json language = Language();
  language.update({{"hidden_size", 2560},
                   {"intermediate_size", 12288},
                   {"moe_intermediate_size", 1536},
                   {"n_routed_experts", 72},
                   {"norm_topk_prob", true},
                   {"routed_scaling_factor", 2.0},
                   {"scoring_func", "sigmoid"},
                   {"topk_method", "noaux_tc"},
                   {"vocab_size", 129280}});
  return language;
}

}  // namespace

absl::StatusOr<Json> PublishedShape(std::string_view name) {
  Json language;
  if (name == "tiny") {
    language = Tiny();
  } else if (name == "small") {
    language = Small();
  } else if (name == "base") {
    language = Base();
  } else {
    return InvalidArgument("shape \"", name, "\" is not one of tiny, small, base");
  }
  const Json hidden = language["hidden_size"];
  return Json{{"candidate_resolutions", CandidateResolutions()},
              {"global_view_pos", "head"},
              {"language_config", language},
              {"model_type", "deepseek_vl_v2"},
              {"projector_config", {{"model_type", "mlp_projector"}, {"n_embed", hidden}}},
              {"tile_tag", "2D"},
              {"torch_dtype", "bfloat16"},
              {"vision_config",
               {{"layers", 27},
                {"mlp_ratio", 3.7362},
                {"model_name", "siglip_so400m_patch14_384"},
                {"model_type", "vision"},
                {"patch_size", 14},
                {"width", 1152}}}};
}

Json MakeProcessorConfig(const Json& config) {
  return {{"add_special_token", false},
          {"candidate_resolutions", config.at("candidate_resolutions")},
          {"downsample_ratio", config.at("projector_config").value("downsample_ratio", 2)},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}},
          {"image_token", "<image>"},
          {"normalize", true},
          {"pad_token", "<｜▁pad▁｜>"},
          {"patch_size", config.at("vision_config").value("patch_size", 16)},
          {"processor_class", "DeepseekVLV2Processor"},
          {"sft_format", "deepseek"}};
}

}  // namespace vl2
