// Every field of a chat request: both ends of its range, what lies outside, other types and null.
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "gateway/http/chat_request.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/error_details.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

using ::testing::HasSubstr;

Json Minimal() { return Json::parse(R"({"messages": [{"role": "user", "content": "Hi"}]})"); }

absl::StatusOr<ChatRequest> Parse(const Json& json) {
  RequestDefaults defaults;
  defaults.model_name = "tiny";
  return ParseChatRequest(json.dump(), defaults);
}

Json With(const std::string& key, Json value) {
  Json json = Minimal();
  json[key] = std::move(value);
  // Has no meaning without the other.
  if (key == "top_logprobs") json["logprobs"] = true;
  return json;
}

struct Field {
  std::string name;
  std::vector<Json> accepted;  // both ends of the range among them
  std::vector<Json> outside;   // refused with the range
  std::string range;           // as errors word it
  Json wrong_type;
};

const std::vector<Field>& Fields() {
  static const auto* const fields = new std::vector<Field>{
      {"temperature", {0, 10, 0.5}, {-0.001, 10.001, 1e300}, "[0, 10]", "hot"},
      {"top_p", {0, 1, 0.5, 1e-300}, {-1e-9, 1.0000001}, "[0, 1]", "0.5"},
      {"min_p", {0, 1}, {-0.1, 1.1}, "[0, 1]", Json::array()},
      {"repetition_penalty", {1e-9, 10}, {0, -1, 10.5}, "(0, 10]", true},
      {"presence_penalty", {-2, 2}, {-2.1, 2.1}, "[-2, 2]", "x"},
      {"frequency_penalty", {-2, 2}, {-2.1, 2.1}, "[-2, 2]", Json::object()},
      {"top_k", {-1, 0, 1, INT32_MAX, 3.0}, {-2, 2147483648u, 1e30}, "[-1, 2147483647]", "x"},
      {"seed",
       {0, INT64_MIN, INT64_MAX},
       {uint64_t{1} << 63, UINT64_MAX, 1e19},
       "[-9223372036854775808, 9223372036854775807]",
       "x"},
      {"top_logprobs", {0, 20}, {-1, 21}, "[0, 20]", "x"},
      {"n", {1, 16, 2.0}, {0, -1, 17}, "[1, 16]", "x"},
      {"max_tokens", {1, INT32_MAX}, {0, -1, 2147483648u}, "[1, 2147483647]", "x"},
      {"max_completion_tokens", {1, INT32_MAX}, {0, 2147483648u}, "[1, 2147483647]", "x"},
      {"logprobs", {true, false}, {}, "", 1},
      {"stream", {true, false}, {}, "", "yes"},
      {"ignore_eos", {true, false}, {}, "", 0},
      {"stream_options", {Json::object(), {{"include_usage", nullptr}}}, {}, "", "x"},
      {"stop",
       {"x", Json::array(), std::vector<std::string>(16, std::string(256, 'x'))},
       {},
       "",
       1},
      {"stop_token_ids", {Json::array(), {0, INT32_MAX}, std::vector<int>(256, 1)}, {}, "", 1},
      {"logit_bias", {Json::object(), {{"0", -100}, {"2147483647", 100}}}, {}, "", Json::array()},
      {"model", {"tiny"}, {}, "", 5},
      {"messages", {Minimal()["messages"]}, {}, "", "x"},
      {"tools", {Json::array()}, {}, "", Json::object()},
      {"functions", {Json::array()}, {}, "", "x"},
      {"tool_choice", {"none", "auto"}, {}, "", Json::object()},
      {"function_call", {"none", "auto"}, {}, "", 1},
      {"modalities", {Json::array({"text"})}, {}, "", "text"},
      {"response_format", {{{"type", "text"}}}, {}, "", "text"},
  };
  return *fields;
}

TEST(ChatRequestFields, BothEndsAreAccepted) {
  for (const Field& field : Fields()) {
    for (const Json& value : field.accepted) {
      const auto request = Parse(With(field.name, value));
      EXPECT_TRUE(request.ok()) << field.name << " " << value << ": " << request.status();
    }
  }
}

TEST(ChatRequestFields, WhatIsOutsideIsRefusedInOneWording) {
  for (const Field& field : Fields()) {
    for (const Json& value : field.outside) {
      const auto request = Parse(With(field.name, value));
      ASSERT_FALSE(request.ok()) << field.name << " " << value;
      EXPECT_EQ(ParamOf(request.status()), field.name);
      const std::string message = Message(request.status());
      EXPECT_EQ(message.find(field.name + " is "), 0u) << message;
      EXPECT_THAT(message, HasSubstr(", it must be in " + field.range));
    }
  }
}

TEST(ChatRequestFields, OtherTypesAreRefusedByName) {
  for (const Field& field : Fields()) {
    const auto request = Parse(With(field.name, field.wrong_type));
    ASSERT_FALSE(request.ok()) << field.name << " " << field.wrong_type;
    EXPECT_EQ(ParamOf(request.status()), field.name) << request.status();
  }
}

// Clients send null for "not set".
TEST(ChatRequestFields, NullIsAbsent) {
  for (const Field& field : Fields()) {
    if (field.name == "messages") continue;
    const auto request = Parse(With(field.name, nullptr));
    EXPECT_TRUE(request.ok()) << field.name << ": " << request.status();
  }
  Json json = Minimal();
  json["messages"] = Json::parse(R"([
      {"role": "user", "name": null, "content": [
        {"type": "text", "text": "Hi", "cache_control": null},
        {"type": "image_url", "tiling": null, "policy": null,
         "image_url": {"url": "data:,x", "detail": null, "tiling": null}}]},
      {"role": "assistant", "content": null, "tool_calls": null, "function_call": null,
       "audio": null, "refusal": null},
      {"role": "user", "content": "Go on", "tool_calls": []}])");
  const auto request = Parse(json);
  EXPECT_TRUE(request.ok()) << request.status();
}

struct NestedFault {
  std::string messages;
  std::string param;
};

TEST(ChatRequestFields, FaultsInMessagesNameTheirPlace) {
  const std::string image = R"([{"role":"user","content":[{"type":"image_url","image_url":)";
  const std::string at = "messages[0].content[0]";
  const std::vector<NestedFault> faults = {
      {"[]", "messages"},
      {"null", "messages"},
      {"[[]]", "messages[0]"},
      {"[null]", "messages[0]"},
      {R"([{"content":"x"}])", "messages[0].role"},
      {R"([{"role":null,"content":"x"}])", "messages[0].role"},
      {R"([{"role":["user"],"content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":null}])", "messages[0].content"},
      {R"([{"role":"user","content":{}}])", "messages[0].content"},
      {R"([{"role":"assistant","content":false}])", "messages[0].content"},
      {R"([{"role":"user","content":"x","tool_calls":[1]}])", "messages[0].tool_calls"},
      {R"([{"role":"user","content":["x"]}])", at},
      {R"([{"role":"user","content":[{}]}])", at + ".type"},
      {R"([{"role":"user","content":[{"type":null}]}])", at + ".type"},
      {R"([{"role":"user","content":[{"type":"audio"}]}])", at + ".type"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", at + ".text"},
      {R"([{"role":"user","content":[{"type":"text","text":null}]}])", at + ".text"},
      {R"([{"role":"user","content":[{"type":"text","text":{}}]}])", at + ".text"},
      {R"([{"role":"user","content":[{"type":"image_url"}]}])", at + ".image_url"},
      {R"([{"role":"system","content":[{"type":"image_url","image_url":"data:,x"}]}])", at},
      {image + "7}]}]", at + ".image_url"},
      {image + "{}}]}]", at + ".image_url.url"},
      {image + R"({"url":7}}]}])", at + ".image_url.url"},
      {image + R"({"url":""}}]}])", at + ".image_url.url"},
      {image + R"("ftp://x"}]}])", at + ".image_url.url"},
      {image + R"({"url":"data:,x","detail":"best"}}]}])", at + ".image_url.detail"},
      {image + R"({"url":"data:,x","detail":1}}]}])", at + ".image_url.detail"},
      {image + R"({"url":"data:,x","policy":"raw"}}]}])", at + ".image_url.policy"},
      {image + R"({"url":"data:,x","tiling":3}}]}])", at + ".image_url.tiling"},
      {image + R"({"url":"data:,x","tiling":{}}}]}])", at + ".image_url.tiling"},
      {image + R"("data:,x","policy":1}]}])", at + ".policy"},
      {image + R"("data:,x","tiling":{"max_tiles":0}}]}])", at + ".tiling.max_tiles"},
      {image + R"("data:,x","tiling":{"max_tiles":65}}]}])", at + ".tiling.max_tiles"},
      {image + R"("data:,x","tiling":{"max_tiles":1,"tiles_wide":1}}]}])", at + ".tiling"},
      {image + R"("data:,x","tiling":{"tiles_wide":2}}]}])", at + ".tiling"},
      {image + R"("data:,x","tiling":{"tiles_wide":"2","tiles_high":1}}]}])",
       at + ".tiling.tiles_wide"},
      {image + R"("data:,x","tiling":{"tiles_wide":9,"tiles_high":8}}]}])", at + ".tiling"},
  };
  for (const NestedFault& fault : faults) {
    Json json = Minimal();
    json["messages"] = Json::parse(fault.messages);
    const auto request = Parse(json);
    ASSERT_FALSE(request.ok()) << fault.messages;
    EXPECT_EQ(ParamOf(request.status()), fault.param) << fault.messages << request.status();
  }
  for (const char* tiling :
       {R"({"max_tiles":1})", R"({"max_tiles":64})", R"({"tiles_wide":64,"tiles_high":1})",
        R"({"tiles_wide":8,"tiles_high":8})"}) {
    Json json = Minimal();
    json["messages"] = Json::parse(image + R"("data:,x","tiling":)" + tiling + "}]}]");
    EXPECT_TRUE(Parse(json).ok()) << tiling << Parse(json).status();
  }
}

TEST(ChatRequestFields, FaultsInsideOtherFieldsNameThem) {
  const std::pair<std::string, Json> faults[] = {
      {"stop", std::vector<std::string>(17, "x")},
      {"stop", ""},
      {"stop", std::string(257, 'x')},
      {"stop", {"x", nullptr}},
      {"stop_token_ids", {-1}},
      {"stop_token_ids", {1.5}},
      {"stop_token_ids", {"1"}},
      {"stop_token_ids", {2147483648u}},
      {"stop_token_ids", std::vector<int>(257, 1)},
      {"logit_bias", {{"x", 1}}},
      {"logit_bias", {{"-1", 1}}},
      {"logit_bias", {{"1 ", 1}}},
      {"logit_bias", {{"2147483648", 1}}},
      {"logit_bias", {{"1", "1"}}},
      {"logit_bias", {{"1", 100.5}}},
      {"logit_bias", {{"1", -100.5}}},
      {"stream_options.include_usage", {{"include_usage", 1}}},
      {"n", 1.5},
      {"seed", 0.5},
  };
  for (const auto& [param, value] : faults) {
    const auto request = Parse(With(param.substr(0, param.find('.')), value));
    ASSERT_FALSE(request.ok()) << param << value;
    EXPECT_EQ(ParamOf(request.status()), param) << request.status();
  }
  Json bias = Json::object();
  for (int i = 0; i < 1025; ++i) bias[std::to_string(i)] = 1;
  EXPECT_EQ(ParamOf(Parse(With("logit_bias", bias)).status()), "logit_bias");
  bias.erase("7");
  EXPECT_TRUE(Parse(With("logit_bias", bias)).ok());
}

TEST(ValidateTask, HasTheSameRanges) {
  ChatTask task;
  task.messages.push_back({ChatRole::kUser, {ContentPart::Text("Hi")}});
  EXPECT_TRUE(ValidateTask(task).ok());
  task.sampling.top_p = 0;
  EXPECT_TRUE(ValidateTask(task).ok());
  task.sampling.top_p = std::nan("");
  EXPECT_THAT(Message(ValidateTask(task)), HasSubstr("it must be in [0, 1]"));
  task.sampling.top_p = 1;
  task.sampling.top_logprobs = 2;
  EXPECT_EQ(ParamOf(ValidateTask(task)), "top_logprobs");
  task.sampling.top_logprobs = 0;
}

}  // namespace
}  // namespace vl2::gateway
