#include "runtime/base/json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

TEST(ParseJson, NamesTheFault) {
  EXPECT_THAT(Message(ParseJson("{\"a\": }").status()), HasSubstr("not valid JSON"));
  EXPECT_THAT(Message(ParseJson("{} x").status()), HasSubstr("not valid JSON"));
  EXPECT_THAT(Message(ParseJson("\"\xff\"").status()), HasSubstr("not valid JSON"));
}

TEST(ParseJson, ErrorsRepeatLittle) {
  const std::string long_string(1 << 20, 'x');
  EXPECT_LT(Message(ParseJson("[\"" + long_string + "\" 1]").status()).size(), 200u);
  EXPECT_LT(Message(ParseJson("[\"" + long_string).status()).size(), 200u);
}

TEST(ParseJson, LimitsBytesAndDepth) {
  EXPECT_THAT(Message(ParseJson("[1, 2]", {.max_bytes = 5}).status()), HasSubstr("limit is 5"));
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THAT(Message(ParseJson(deep).status()), HasSubstr("deeper than 64"));
  EXPECT_TRUE(ParseJson("\"[[[[[\\\"[[[[\"", {.max_depth = 1}).ok());
}

TEST(JsonFields, DefaultsAndErrorsNameTheKey) {
  const Json json = {{"a", 3}, {"b", "x"}, {"n", nullptr}, {"big", UINT64_MAX}, {"f", 0.5}};
  const JsonFields fields(json, "config.json");
  EXPECT_EQ(*fields.Int("a", std::nullopt, 0, 10), 3);
  EXPECT_EQ(*fields.Int("n", 7, 0, 10), 7);
  EXPECT_EQ(*fields.Double("f", std::nullopt, 0, 1), 0.5);
  EXPECT_EQ(*fields.Double("a", std::nullopt, 0, 5), 3.0);
  EXPECT_THAT(Message(fields.Int("b", 1, 0, 10).status()),
              HasSubstr("config.json.b: found a value of type string, expected an integer"));
  EXPECT_THAT(Message(fields.Int("a", 1, 4, 10).status()), HasSubstr("3 is outside [4, 10]"));
  EXPECT_THAT(Message(fields.Int("big", 1, 4, INT64_MAX - 1).status()), HasSubstr("is outside"));
  EXPECT_THAT(Message(fields.Int("c", std::nullopt, 0, 1).status()), HasSubstr("missing"));
  EXPECT_THAT(Message(fields.Bool("a", false).status()), HasSubstr("expected true or false"));
}

}  // namespace
}  // namespace vl2
