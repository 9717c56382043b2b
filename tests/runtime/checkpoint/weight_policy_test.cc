#include "runtime/weight_format/weight_policy.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

WeightPolicy Policy(const std::string& value) { return ParseWeights(value)->policy; }

TEST(WeightPolicyTest, TheTable) {
  struct Row {
    const char* name;
    WeightFormat int8, int4;
  };
  using enum WeightFormat;
  for (const Row& row :
       {Row{"language.model.layers.0.mlp.gate_proj.weight", kW7A8, kW4A8},
        Row{"language.model.layers.3.mlp.experts.17.down_proj.weight", kW7A8, kW4A8},
        Row{"language.model.layers.3.mlp.shared_experts.up_proj.weight", kW7A8, kW4A8},
        Row{"language.model.layers.3.self_attn.q_proj.weight", kW8A16, kW8A16},
        Row{"language.model.layers.3.self_attn.kv_a_proj_with_mqa.weight", kW8A16, kW8A16},
        Row{"language.model.layers.3.self_attn.kv_b_proj.weight", kAsStored, kAsStored},
        Row{"language.model.layers.3.mlp.gate.weight", kAsStored, kAsStored},
        Row{"language.model.embed_tokens.weight", kAsStored, kAsStored},
        Row{"language.lm_head.weight", kW8A16, kW4A8},
        Row{"vision.blocks.26.attn.qkv.weight", kW7A8, kW7A8},
        Row{"vision.blocks.26.mlp.fc2.weight", kW7A8, kW7A8},
        Row{"vision.blocks.26.mlp.fc2.bias", kAsStored, kAsStored},
        Row{"vision.patch_embed.proj.weight", kAsStored, kAsStored},
        Row{"projector.layers.0.weight", kW8A16, kW8A16}}) {
    EXPECT_EQ(FormatOf(WeightPolicy::kInt8, row.name), row.int8) << row.name;
    EXPECT_EQ(FormatOf(WeightPolicy::kInt4, row.name), row.int4) << row.name;
    EXPECT_EQ(FormatOf(WeightPolicy::kAsStored, row.name), kAsStored) << row.name;
  }
}

TEST(WeightPolicyTest, PartsGetMoreBits) {
  const WeightPolicy policy =
      Policy("int4+vision.blocks.2+language.lm_head+language.model.layers.1");
  EXPECT_EQ(Name(policy), "int4+language.lm_head+language.model.layers.1+vision.blocks.2");
  EXPECT_EQ(policy, Policy(Name(policy)));
  EXPECT_EQ(policy, Policy(Name(policy) + "+language.lm_head")) << "named twice";
  EXPECT_NE(policy, Policy("int4"));
  const auto format = [&](const char* name) { return FormatOf(policy, name); };
  EXPECT_EQ(format("language.lm_head.weight"), WeightFormat::kW8A16);
  EXPECT_EQ(format("language.model.layers.1.mlp.experts.0.up_proj.weight"), WeightFormat::kW8A16);
  EXPECT_EQ(format("language.model.layers.11.mlp.experts.0.up_proj.weight"), WeightFormat::kW4A8);
  EXPECT_EQ(format("language.model.layers.1.self_attn.kv_b_proj.weight"), WeightFormat::kAsStored);
  EXPECT_EQ(format("vision.blocks.2.attn.qkv.weight"), WeightFormat::kW8A16);
  EXPECT_EQ(format("vision.blocks.20.attn.qkv.weight"), WeightFormat::kW7A8);
}

TEST(WeightPolicyTest, OtherValuesAreRefused) {
  for (const char* value : {"", "int5", "INT8", "int8 ", "bf16+language.lm_head", "auto+x"}) {
    EXPECT_THAT(std::string(ParseWeights(value).status().message()),
                HasSubstr("is not one of auto, bf16, f32, int8, int4"))
        << value;
  }
  for (const char* value :
       {"int8+", "int8+language", "int8+vision.blocks.", "int8+vision.blocks.-1",
        "int8+vision.blocks.07", "int8+vision.blocks.1.attn", "int4+language.model.layers.x",
        "int4+vision.blocks.99999999999"}) {
    EXPECT_THAT(std::string(ParseWeights(value).status().message()),
                HasSubstr("is not language.model.layers.N, vision.blocks.N or language.lm_head"))
        << value;
  }
  std::string many = "int8";
  for (int i = 0; i < 65; ++i) many += "+vision.blocks." + std::to_string(i);
  EXPECT_THAT(std::string(ParseWeights(many).status().message()), HasSubstr("65 parts, the limit"));
}

}  // namespace
}  // namespace vl2
