#include "runtime/base/log.h"

#include <cmath>
#include <string>

#include "gtest/gtest.h"
#include "runtime/base/json.h"

namespace vl2 {
namespace {

std::string Line(LogFormat format, std::string_view message, const std::vector<LogField>& fields) {
  return LogLine(format, Severity::kWarning, message, fields);
}

TEST(Log, AsText) {
  const std::string line =
      Line(LogFormat::kText, "a\nmessage", {{"one", 1}, {"two", "x y"}, {"three", "q\"\\\r\n"}});
  EXPECT_EQ(line.substr(25), "WARNING a message one=1 two=\"x y\" three=\"q\\\"\\\\  \"\n");
}

TEST(Log, AsJson) {
  const std::string line =
      Line(LogFormat::kJson, "a message",
           {{"count", 3}, {"ms", 0.25}, {"text", "3"}, {"truth", true}, {"none", std::nan("")}});
  ASSERT_TRUE(line.ends_with("}\n"));
  const auto json = ParseJson(line);
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ((*json)["severity"], "WARNING");
  EXPECT_EQ((*json)["message"], "a message");
  EXPECT_EQ((*json)["count"], 3);
  EXPECT_EQ((*json)["ms"], 0.25);
  EXPECT_EQ((*json)["text"], "3");
  EXPECT_EQ((*json)["truth"], true);
  EXPECT_TRUE((*json)["none"].is_string());
  EXPECT_EQ((*json)["time"].get<std::string>().size(), 24u);
}

TEST(Log, JsonIsValidWhateverBytesCome) {
  std::string every;
  for (int byte = 0; byte < 256; ++byte) every.push_back(static_cast<char>(byte));
  for (const std::string& hostile :
       {every, every + every, std::string("\xe2\x80"), std::string("\",\"x\":1")}) {
    const std::string line = Line(LogFormat::kJson, hostile, {{"key", hostile}});
    const auto json = ParseJson(line);
    ASSERT_TRUE(json.ok()) << json.status();
    EXPECT_EQ(json->size(), 4u);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    for (const char c : line.substr(0, line.size() - 1)) {
      EXPECT_TRUE(c >= ' ' && c < 0x7f) << static_cast<int>(c);
    }
  }
}

TEST(Log, RefusesOtherFormats) {
  EXPECT_FALSE(SetLogFormat("xml").ok());
  EXPECT_TRUE(SetLogFormat("json").ok());
  EXPECT_EQ(CurrentLogFormat(), LogFormat::kJson);
  EXPECT_TRUE(SetLogFormat("text").ok());
}

}  // namespace
}  // namespace vl2
