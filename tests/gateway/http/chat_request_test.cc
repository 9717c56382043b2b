#include "gateway/http/chat_request.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/error_details.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

using ::testing::HasSubstr;

RequestDefaults Defaults() {
  RequestDefaults defaults;
  defaults.model_name = "tiny";
  defaults.seed = 99;
  return defaults;
}

Json Minimal() { return Json::parse(R"({"messages": [{"role": "user", "content": "Hi"}]})"); }

absl::StatusOr<ChatRequest> Parse(const Json& json) {
  return ParseChatRequest(json.dump(), Defaults());
}

Json WithImage(const std::string& url, Json more = Json::object()) {
  Json part = {{"type", "image_url"}, {"image_url", {{"url", url}}}};
  part.update(more, true);
  Json json = Minimal();
  json["messages"][0]["content"] = Json::array({part, {{"type", "text"}, {"text", "What?"}}});
  return json;
}

constexpr char kPng[] = "data:image/png;base64,iVBORw0KGgo=";

TEST(ChatRequest, DefaultsAreThePublishedScripts) {
  const auto request = Parse(Minimal());
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->task.sampling.temperature, 0.4);
  EXPECT_EQ(request->task.sampling.top_p, 0.9);
  EXPECT_EQ(request->task.sampling.top_k, 50);
  EXPECT_EQ(request->task.sampling.repetition_penalty, 1.1);
  EXPECT_EQ(request->task.sampling.seed, 99u);
  EXPECT_EQ(request->task.max_new_tokens, 0);
  EXPECT_FALSE(request->stream);
}

TEST(ChatRequest, ReadsEveryField) {
  Json json = Minimal();
  json.update(Json::parse(R"({
    "model": "tiny", "stream": true, "stream_options": {"include_usage": true},
    "temperature": 0, "top_p": 0.5, "n": 3, "stop": ["a", "b"], "seed": -1, "logprobs": true,
    "top_logprobs": 20, "logit_bias": {"5": -100, "6": 1.5}, "presence_penalty": 1,
    "frequency_penalty": -1, "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.0,
    "stop_token_ids": [3], "ignore_eos": true, "max_tokens": 5, "max_completion_tokens": 7,
    "user": "somebody", "an_unknown_field": {"x": 1}, "tools": [], "tool_choice": "none",
    "response_format": {"type": "text"}})"));
  const auto request = Parse(json);
  ASSERT_TRUE(request.ok()) << request.status();
  const ChatTask& task = request->task;
  EXPECT_TRUE(request->stream);
  EXPECT_TRUE(request->include_usage);
  EXPECT_EQ(task.sampling.temperature, 0);
  EXPECT_EQ(task.num_samples, 3);
  EXPECT_EQ(task.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(task.sampling.seed, UINT64_MAX);
  EXPECT_EQ(task.sampling.top_logprobs, 20);
  EXPECT_EQ(task.sampling.logit_bias.at(6), 1.5);
  EXPECT_EQ(task.sampling.top_k, 0);
  EXPECT_EQ(task.max_new_tokens, 7);
  EXPECT_TRUE(task.ignore_end_token);
}

TEST(ChatRequest, Pictures) {
  const auto request = Parse(WithImage(kPng));
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->task.images.size(), 1u);
  EXPECT_EQ(*request->task.images[0].bytes, "\x89PNG\r\n\x1a\n");
  EXPECT_EQ(request->task.images[0].tiling.kind, TilingChoice::Kind::kPublishedRule);

  Json low = WithImage(kPng);
  low["messages"][0]["content"][0]["image_url"]["detail"] = "low";
  EXPECT_EQ(Parse(low)->task.images[0].tiling.kind, TilingChoice::Kind::kSingleTile);
  EXPECT_EQ(
      Parse(WithImage(kPng, {{"tiling", {{"max_tiles", 4}}}}))->task.images[0].tiling.max_tiles, 4);
  EXPECT_EQ(Parse(low)->task.images[0].policy, ImagePolicy::kServing);
  EXPECT_EQ(Parse(WithImage(kPng, {{"policy", "published"}}))->task.images[0].policy,
            ImagePolicy::kPublished);
  const auto fixed = Parse(WithImage(kPng, {{"tiling", {{"tiles_wide", 3}, {"tiles_high", 2}}}}));
  ASSERT_TRUE(fixed.ok()) << fixed.status();
  EXPECT_EQ(fixed->task.images[0].tiling.tiles_wide, 3);
}

struct Refusal {
  Json change;
  std::string param;
  std::string says;
};

TEST(ChatRequest, RefusalsNameFieldAndLimit) {
  const std::vector<Refusal> refusals = {
      {{{"top_logprobs", 21}, {"logprobs", true}}, "top_logprobs", "20"},
      {{{"top_logprobs", 2}}, "top_logprobs", "needs logprobs"},
      {{{"n", 17}}, "n", "16"},
      {{{"n", 0}}, "n", "[1, 16]"},
      {{{"n", 1.5}}, "n", "integer"},
      {{{"temperature", -1}}, "temperature", "[0, 10]"},
      {{{"temperature", "hot"}}, "temperature", "number"},
      {{{"max_tokens", 0}}, "max_tokens", "max_tokens is 0, it must be in [1, 2147483647]"},
      {{{"stop", std::vector<std::string>(17, "x")}}, "stop", "16"},
      {{{"stop", ""}}, "stop", "1 to 256"},
      {{{"stop", 5}}, "stop", "string"},
      {{{"seed", "x"}}, "seed", "integer"},
      {{{"logit_bias", {{"x", 1}}}}, "logit_bias", "not a token id"},
      {{{"logit_bias", {{"1", 101}}}}, "logit_bias", "100"},
      {{{"stop_token_ids", {-1}}}, "stop_token_ids", "not a token id"},
      {{{"stream", "yes"}}, "stream", "true or false"},
      {{{"model", "other"}}, "model", "does not exist"},
      {{{"tools", Json::array({Json::object()})}}, "tools", "not supported"},
      {{{"functions", Json::array({Json::object()})}}, "functions", "not supported"},
      {{{"tool_choice", "required"}}, "tool_choice", "not supported"},
      {{{"audio", Json::object()}}, "audio", "not supported"},
      {{{"modalities", Json::array({"text", "audio"})}}, "modalities", "text"},
      {{{"response_format", {{"type", "json_object"}}}}, "response_format", "text"},
      {{{"messages", Json::array()}}, "messages", "at least one"},
      {{{"messages", "x"}}, "messages", "array"},
      {{{"messages", Json::array({5})}}, "messages[0]", "object"},
      {{{"messages", Json::array({{{"role", "tool"}, {"content", ""}}})}},
       "messages[0].role",
       "assistant"},
      {{{"messages", Json::array({{{"role", "user"}, {"content", 7}}})}},
       "messages[0].content",
       "string or an array"},
      {{{"messages", Json::array({{{"role", "user"}}})}}, "messages[0].content", "missing"},
      {{{"messages",
         Json::array(
             {{{"role", "assistant"}, {"content", nullptr}, {"tool_calls", Json::array({1})}}})}},
       "messages[0].tool_calls",
       "not supported"},
  };
  for (const Refusal& refusal : refusals) {
    Json json = Minimal();
    json.update(refusal.change);
    const auto request = Parse(json);
    ASSERT_FALSE(request.ok()) << json.dump();
    EXPECT_EQ(ParamOf(request.status()), refusal.param) << request.status();
    EXPECT_THAT(Message(request.status()), HasSubstr(refusal.says));
  }
}

TEST(ChatRequest, BadPictures) {
  const std::vector<std::pair<std::string, std::string>> urls = {
      {"https://example.com/a.png", "fetches nothing"},
      {"file:///etc/passwd", "data:image"},
      {"data:image/png;base64", "comma"},
      {"data:image/png;base64,", "0 bytes"},
      {"data:image/png;base64,AAAAA", "base64"},
      {"data:image/png;base64,=AAA", "character 1"},
  };
  for (const auto& [url, says] : urls) {
    const auto request = Parse(WithImage(url));
    ASSERT_FALSE(request.ok()) << url;
    EXPECT_EQ(ParamOf(request.status()), "messages[0].content[0].image_url.url");
    EXPECT_THAT(Message(request.status()), HasSubstr(says)) << url;
  }
}

// The type that counts is the bytes' own: the vision service finds it.
TEST(ChatRequest, TheMediaTypeIsNotBelieved) {
  for (const char* url : {"data:text/html;base64,iVBORw0KGgo=", "data:;base64,iVBORw0KGgo",
                          "DATA:,%89PNG%0D%0A%1A%0A"}) {
    const auto request = Parse(WithImage(url));
    ASSERT_TRUE(request.ok()) << url << request.status();
    EXPECT_EQ(*request->task.images[0].bytes, "\x89PNG\r\n\x1a\n");
  }
}

TEST(ChatRequest, HostileJson) {
  const std::string open(5000, '[');
  for (const std::string& body :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), open,
        "{\"a\":" + open, std::string("{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}"),
        std::string("\0{}", 3), std::string("{\"n\":1e400}"),
        std::string("{\"n\":99999999999999999999}"), std::string("{} {}")}) {
    EXPECT_FALSE(ParseChatRequest(body, Defaults()).ok()) << body.substr(0, 60);
  }
  RequestDefaults small = Defaults();
  small.max_body_bytes = 10;
  EXPECT_FALSE(ParseChatRequest(Minimal().dump(), small).ok());
}

}  // namespace
}  // namespace vl2::gateway
