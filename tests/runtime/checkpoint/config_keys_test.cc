// Keys that newer writers moved, renamed or added: read, refused or named, never passed over.
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/config.h"

namespace vl2 {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Json& Small() {
  static const auto* const config = new Json(
      ParseJsonFile(VL2_TEST_DATA "/golden/data/checkpoints/small_mla/config.json").value());
  return *config;
}

absl::StatusOr<ModelConfig> Parse(const std::function<void(Json&)>& change) {
  Json config = Small();
  change(config);
  return ParseModelConfig(config, "config.json");
}

absl::StatusOr<LanguageConfig> ParseLanguage(const std::function<void(Json&)>& change) {
  VL2_ASSIGN_OR_RETURN(const ModelConfig config,
                       Parse([&](Json& all) { change(all["language_config"]); }));
  return config.language_config;
}

std::string Error(const std::function<void(Json&)>& change) {
  const auto config = ParseLanguage(change);
  return config.ok() ? "accepted" : Message(config.status());
}

const Json kYarn = {{"factor", 40.0},    {"original_max_position_embeddings", 2048},
                    {"beta_fast", 16.0}, {"beta_slow", 2.0},
                    {"mscale", 0.7},     {"mscale_all_dim", 0.8}};

Json With(Json object, const Json& more) {
  object.update(more);
  return object;
}

TEST(RopeParameters, AreReadAsTheOldKeysAre) {
  const auto old_form = ParseLanguage([](Json& language) {
    language["rope_theta"] = 50000;
    language["rope_scaling"] = With(kYarn, {{"type", "yarn"}});
  });
  const auto new_form = ParseLanguage([](Json& language) {
    language.erase("rope_theta");
    language.erase("rope_scaling");
    language["rope_parameters"] = With(kYarn, {{"rope_type", "yarn"}, {"rope_theta", 50000}});
  });
  ASSERT_TRUE(old_form.ok()) << old_form.status();
  ASSERT_TRUE(new_form.ok()) << new_form.status();
  EXPECT_EQ(new_form->rope_theta, 50000);
  ASSERT_TRUE(new_form->rope_scaling.has_value());
  EXPECT_EQ(new_form->rope_scaling->beta_fast, 16);
  EXPECT_EQ(new_form->rope_scaling->mscale_all_dim, 0.8);
  EXPECT_TRUE(new_form->rope_scaling == old_form->rope_scaling);
}

TEST(RopeParameters, PlainFormsDoNotScale) {
  for (const Json& plain :
       {Json{{"rope_theta", 20000.0}, {"rope_type", "default"}}, Json{{"rope_theta", 20000.0}}}) {
    const auto config = ParseLanguage([&](Json& language) {
      language.erase("rope_theta");
      language["rope_parameters"] = plain;
    });
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->rope_theta, 20000);
    EXPECT_FALSE(config->rope_scaling.has_value());
  }
  const auto linear = ParseLanguage([](Json& language) {
    language["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  });
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_EQ(linear->rope_scaling->type, RopeScaling::Type::kLinear);
}

TEST(RopeParameters, ContradictionsAreRefused) {
  EXPECT_THAT(Error([](Json& language) {
                language["rope_theta"] = 10000;
                language["rope_parameters"] = {{"rope_theta", 50000}, {"rope_type", "default"}};
              }),
              HasSubstr("rope_parameters.rope_theta: 50000 contradicts rope_theta 10000"));
  EXPECT_THAT(Error([](Json& language) {
                language["rope_scaling"] = With(kYarn, {{"type", "yarn"}});
                language["rope_parameters"] = {{"rope_type", "default"}};
              }),
              HasSubstr("contradicts rope_scaling"));
  EXPECT_THAT(Error([](Json& language) {
                language["rope_scaling"] = With(kYarn, {{"type", "yarn"}, {"rope_type", "linear"}});
              }),
              HasSubstr("type \"yarn\" contradicts rope_type \"linear\""));
  // The same twice is no contradiction.
  EXPECT_EQ(
      Error([](Json& language) {
        language["rope_theta"] = 10000;
        language["rope_scaling"] = With(kYarn, {{"type", "yarn"}});
        language["rope_parameters"] = With(kYarn, {{"rope_type", "yarn"}, {"rope_theta", 10000}});
      }),
      "accepted");
}

TEST(RopeParameters, WhatIsNotThereIsRefused) {
  const auto parameters = [](const Json& value) {
    return Error([&](Json& language) { language["rope_parameters"] = value; });
  };
  EXPECT_THAT(parameters({{"rope_type", "llama3"}, {"factor", 8}}),
              HasSubstr("\"llama3\" is not one of linear, dynamic, yarn"));
  EXPECT_THAT(parameters({{"full_attention", {{"rope_type", "default"}}},
                          {"sliding_attention", {{"rope_type", "default"}}}}),
              HasSubstr("rope_parameters.full_attention: settings by kind of layer"));
  EXPECT_THAT(parameters({{"factor", 8}, {"rope_theta", 1e4}}), HasSubstr("rope_type is missing"));
  EXPECT_THAT(parameters({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}),
              HasSubstr("partial_rotary_factor: 0.5 is not supported"));
  EXPECT_THAT(parameters(With(kYarn, {{"rope_type", "yarn"}, {"attention_factor", 1.2}})),
              HasSubstr("attention_factor is not supported"));
  EXPECT_THAT(parameters(With(kYarn, {{"rope_type", "yarn"}, {"truncate", false}})),
              HasSubstr("truncate: false is not supported"));
  EXPECT_THAT(parameters({{"rope_type", "yarn"}}), HasSubstr("factor: missing"));
  EXPECT_THAT(parameters(3), HasSubstr("rope_parameters: expected an object"));
}

TEST(ConfigKeys, MovedOnesAreReadOrRefused) {
  EXPECT_THAT(Error([](Json& language) {
                language["torch_dtype"] = "bfloat16";
                language["dtype"] = "float16";
              }),
              HasSubstr("dtype: \"float16\" contradicts torch_dtype \"bfloat16\""));
  EXPECT_EQ(Error([](Json& language) {
              language.erase("torch_dtype");
              language["dtype"] = "bfloat16";
            }),
            "accepted");
  EXPECT_THAT(Error([](Json& language) { language["head_dim"] = 128; }),
              HasSubstr("head_dim: 128 contradicts qk_rope_head_dim"));
  EXPECT_THAT(Error([](Json& language) { language["rope_interleave"] = false; }),
              HasSubstr("rope_interleave: false is not supported"));
  EXPECT_THAT(Error([](Json& language) { language["mlp_bias"] = true; }),
              HasSubstr("mlp_bias: true is not supported"));
  EXPECT_THAT(Error([](Json& language) { language["sliding_window"] = 512; }),
              HasSubstr("sliding_window is not supported"));
  EXPECT_EQ(Error([](Json& language) { language["sliding_window"] = nullptr; }), "accepted");

  const auto layers = Small()["language_config"]["num_hidden_layers"].get<size_t>();
  Json words = Json::array();
  for (size_t i = 0; i < layers; ++i) words.push_back(i == 0 ? "dense" : "sparse");
  EXPECT_EQ(Error([&](Json& language) { language["mlp_layer_types"] = words; }), "accepted");
  words[0] = "sparse";
  EXPECT_THAT(Error([&](Json& language) { language["mlp_layer_types"] = words; }),
              HasSubstr("mlp_layer_types[0]: \"sparse\" is not supported, only \"dense\""));
  EXPECT_THAT(Error([](Json& language) { language["layer_types"] = {"full_attention"}; }),
              HasSubstr("layer_types: expected a list"));

  const auto top = [](const char* key, const Json& value) {
    return Message(Parse([&](Json& config) { config[key] = value; }).status());
  };
  EXPECT_THAT(top("text_config", Json::object()), HasSubstr("text_config is not supported"));
  EXPECT_THAT(top("quantization_config", {{"bits", 4}}),
              HasSubstr("quantization_config is not supported"));
  EXPECT_THAT(
      Message(Parse([](Json& config) { config["vision_config"]["ignore_head"] = false; }).status()),
      HasSubstr("ignore_head: false is not supported"));
}

TEST(ConfigKeys, UnknownOnesAreNamed) {
  const auto config = Parse([](Json& all) {
    all["new_top"] = 1;
    all["vision_config"]["new_vision"] = 1;
    all["projector_config"]["new_projector"] = 1;
    all["language_config"]["new_language"] = 1;
    all["language_config"]["is_nothing"] = nullptr;
    all["language_config"]["rope_parameters"] = {{"rope_type", "default"}, {"new_rope", 1}};
  });
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->unknown_keys,
              ElementsAre("config.json: language_config.rope_parameters.new_rope",
                          "config.json.new_top", "config.json: vision_config.new_vision",
                          "config.json: projector_config.new_projector",
                          "config.json: language_config.new_language"));
}

// The three published configurations, and those of the golden checkpoints.
TEST(ConfigKeys, PublishedFilesHoldNoUnknownOnes) {
  namespace fs = std::filesystem;
  int count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(VL2_TEST_DATA "/golden/data")) {
    const std::string name = entry.path().filename();
    const bool is_config =
        name == "config.json" || entry.path().parent_path().filename() == "real_configs";
    if (name == "processor_config.json") {
      const auto config = ParseProcessorConfig(ParseJsonFile(entry.path()).value(), name);
      ASSERT_TRUE(config.ok()) << entry.path() << config.status();
      EXPECT_THAT(config->unknown_keys, IsEmpty()) << entry.path();
    } else if (is_config && entry.path().extension() == ".json") {
      const auto config = ParseModelConfig(ParseJsonFile(entry.path()).value(), name);
      ASSERT_TRUE(config.ok()) << entry.path() << config.status();
      EXPECT_THAT(config->unknown_keys, IsEmpty()) << entry.path();
      ++count;
    }
  }
  EXPECT_GE(count, 3);
}

}  // namespace
}  // namespace vl2
