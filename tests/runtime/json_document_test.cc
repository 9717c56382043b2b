#include "runtime/base/json_document.h"

#include <sys/resource.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/excerpt.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

JsonDocument Parsed(const std::string& text) {
  auto document = JsonDocument::Parse(text, {});
  EXPECT_TRUE(document.ok()) << text << ": " << document.status();
  return *std::move(document);
}

// As the other reader of JSON has it.
Json ToJson(JsonView view) {
  switch (view.kind()) {
    case JsonKind::kNull:
      return nullptr;
    case JsonKind::kFalse:
    case JsonKind::kTrue:
      return view.Bool();
    case JsonKind::kInteger:
      return *view.Int64();
    case JsonKind::kUnsigned:
    case JsonKind::kDouble:
      return view.Double();
    case JsonKind::kString:
      return std::string(view.String());
    case JsonKind::kArray: {
      Json array = Json::array();
      for (const JsonView each : view.Elements()) array.push_back(ToJson(each));
      return array;
    }
    case JsonKind::kObject:
      break;
  }
  Json object = Json::object();
  for (auto it = view.Elements().begin(); it != view.Elements().end(); ++it) {
    const std::string key((*it).String());
    ++it;
    object[key] = ToJson(*it);
  }
  return object;
}

TEST(JsonDocument, ReadsWhatTheStandardSays) {
  const std::vector<std::string> texts = {"null",
                                          " true ",
                                          "\t\r\n false",
                                          "0",
                                          "-0",
                                          "-12",
                                          "1.5e3",
                                          "1E-2",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "18446744073709551615",
                                          "18446744073709551616",
                                          "1e-400",
                                          "[]",
                                          "[ ]",
                                          "{}",
                                          "{ }",
                                          "[1,[2,[3]],{}]",
                                          R"({"a":1,"b":{"c":[null,true]},"a":2})",
                                          R"("")",
                                          R"("a\"\\\/\b\f\n\r\tz")",
                                          R"("\u0041\u00e9\u20AC\ud83d\ude00\u0000.")",
                                          "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
                                          "\xef\xbb\xbf[1]",
                                          R"(["x\ny","plain",""])",
                                          R"({"\u0061":"b\\"})"};
  for (const std::string& text : texts) {
    EXPECT_EQ(ToJson(Parsed(text).root()), Json::parse(text)) << text;
  }
}

TEST(JsonDocument, RefusesWhatIsNone) {
  const std::vector<std::string> texts = {"",
                                          " ",
                                          "nul",
                                          "nulll",
                                          "tru",
                                          "+1",
                                          "01",
                                          "-",
                                          "1.",
                                          ".5",
                                          "1e",
                                          "1e+",
                                          "--1",
                                          "0x1",
                                          "NaN",
                                          "Infinity",
                                          "1e400",
                                          "[",
                                          "[1",
                                          "[1,",
                                          "[1,]",
                                          "[,]",
                                          "]",
                                          "{",
                                          "{\"a\"",
                                          "{\"a\":",
                                          "{\"a\":1",
                                          "{\"a\":1,",
                                          "{\"a\":1,}",
                                          "{a:1}",
                                          "{1:1}",
                                          "{\"a\" 1}",
                                          "\"",
                                          "\"a",
                                          "\"\\",
                                          "\"\\x\"",
                                          "\"\\u12\"",
                                          "\"\\u12G4\"",
                                          "\"\\ud800\"",
                                          "\"\\udc00\"",
                                          "\"\\ud800\\u0041\"",
                                          "\"\\ud800x\"",
                                          "\"\n\"",
                                          "\"\x01\"",
                                          "\"\xff\"",
                                          "\"\xc0\x80\"",
                                          "\"\xed\xa0\x80\"",
                                          "\"\xf4\x90\x80\x80\"",
                                          "\"\xe2\x82\"",
                                          "{} {}",
                                          "1 2",
                                          "'a'",
                                          "[1] // no",
                                          "\xef\xbb[1]",
                                          std::string("\0{}", 3),
                                          std::string("{}\0", 3)};
  for (const std::string& text : texts) {
    const auto document = JsonDocument::Parse(text, {});
    EXPECT_FALSE(document.ok()) << text;
    // The other reader takes a NUL for the end.
    EXPECT_TRUE(text.ends_with('\0') || !Json::accept(text)) << text;
    EXPECT_LT(document.status().message().size(), 300u) << text;
  }
}

TEST(JsonDocument, FaultsNameThePlace) {
  EXPECT_THAT(Message(JsonDocument::Parse("{\"a\": }", {}).status()),
              HasSubstr("at byte 6 a value is expected, found }"));
  EXPECT_THAT(Message(JsonDocument::Parse("[1, 2", {}).status()), HasSubstr("the text ends"));
  EXPECT_THAT(Message(JsonDocument::Parse("\"a\xff\"", {}).status()), HasSubstr("invalid UTF-8"));
}

TEST(JsonDocument, FindsFields) {
  const JsonDocument document =
      Parsed(R"({"a": 1, "n": null, "twice": 1, "twice": "x", "gone": 1, "gone": null})");
  const JsonView root = document.root();
  EXPECT_EQ(root.size(), 6u);
  EXPECT_EQ(root.Find("a")->Int64(), 1);
  EXPECT_TRUE(root.Find("twice")->IsString("x")) << "the last one counts";
  EXPECT_FALSE(root.Find("n"));
  EXPECT_FALSE(root.Find("gone"));
  EXPECT_FALSE(root.Find("b"));
  EXPECT_FALSE(root.Find("a")->Find("x")) << "of no object";
  std::vector<std::string> keys;
  for (auto it = root.Elements().begin(); it != root.Elements().end(); ++it) {
    keys.emplace_back((*it).String());
    ++it;
  }
  EXPECT_THAT(keys, ElementsAre("a", "n", "twice", "twice", "gone", "gone"));
}

TEST(JsonDocument, WholeNumbersAreIntegersHoweverTheyAreWritten) {
  const std::pair<const char*, std::optional<int64_t>> cases[] = {
      {"1.0", 1},
      {"1e2", 100},
      {"-0.0", 0},
      {"1.5", {}},
      {"1e300", {}},
      {"18446744073709551615", {}},
      {"9223372036854775808", {}},
      {"-9223372036854775808", INT64_MIN}};
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(Parsed(text).root().Int64(), expected) << text;
  }
}

TEST(JsonDocument, Limits) {
  const auto parse = [](const std::string& text, JsonDocumentLimits limits) {
    return Message(JsonDocument::Parse(text, limits).status());
  };
  EXPECT_THAT(parse("[1, 2]", {.max_bytes = 5}), HasSubstr("6 bytes, the limit is 5"));
  EXPECT_EQ(parse("[[1]]", {.max_depth = 2}), "");
  EXPECT_THAT(parse("[[[1]]]", {.max_depth = 2}), HasSubstr("deeper than 2"));
  EXPECT_THAT(parse("[{\"a\":{}}]", {.max_depth = 2}), HasSubstr("deeper than 2"));
  EXPECT_EQ(parse("{\"a\":[1]}", {.max_nodes = 4}), "");
  EXPECT_THAT(parse("{\"a\":[1,2]}", {.max_nodes = 4}), HasSubstr("more than 4 values and keys"));
  EXPECT_THAT(parse(std::string(100'000, '['), {}), HasSubstr("deeper than 64"));
  EXPECT_THAT(parse(std::string(1001, '1'), {}), HasSubstr("1001 characters, the limit is 1000"));
}

TEST(Excerpt, IsShortAndWholeCharacters) {
  EXPECT_EQ(Excerpt("abc"), "abc");
  EXPECT_EQ(Excerpt(std::string(100, 'x')), std::string(100, 'x'));
  EXPECT_EQ(Excerpt(std::string(101, 'x')), std::string(100, 'x') + "... (101 bytes)");
  std::string euros;
  for (int i = 0; i < 150; ++i) euros += "\xe2\x82\xac";
  EXPECT_EQ(Excerpt(euros), euros.substr(0, 300) + "... (450 bytes)");
  EXPECT_LT(Excerpt(std::string(1 << 20, '\x80')).size(), 450u);
}

// ---- What 64 MiB may cost ----

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// 64 MiB of `unit` between `begin` and `end`.
struct Shape {
  const char* name;
  std::string begin;
  std::string unit;
  std::string end;

  std::string Text() const {
    constexpr size_t kBytes = size_t{64} << 20;
    std::string text = begin;
    text.reserve(kBytes);
    while (text.size() + unit.size() + end.size() <= kBytes) text += unit;
    text += end;
    return text;
  }
};

TEST(JsonDocument, AnyShapeIsReadInTimeAndMemoryBoundedBeforehand) {
  const std::vector<Shape> shapes = {
      {"deep", "", "[", ""},
      {"deep objects", "", "{\"a\":", ""},
      {"empty arrays", "{\"x\":[[]", ",[]", "]}"},
      {"empty objects", "[{}", ",{}", "]"},
      {"empty strings", "[\"\"", ",\"\"", "]"},
      {"numbers", "[1", ",1", "]"},
      {"one long number", "[1", "1", "]"},
      {"long numbers", "[0", "," + std::string(999, '7'), "]"},
      {"long fractions", "[0", ",0." + std::string(990, '3'), "]"},
      {"small numbers", "[0", ",1e-" + std::string(300, '9'), "]"},
      {"one key often", "{\"a\":1", ",\"a\":1", "}"},
      {"one string", "\"", "x", "\""},
      {"one string of escapes", "\"", "\\u00e9", "\""},
      {"one string of pairs", "\"", "\\ud83d\\ude00", "\""},
      {"every other character escaped", "\"", "\\/x", "\""},
      {"one string of three-byte characters", "\"", "\xe2\x82\xac", "\""},
      {"no end", "\"", "x", ""},
      {"spaces", "[", " ", "]"},
      {"strings", "[\"\"", ",\"" + std::string(200, 'x') + "\"", "]"},
  };
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(shape.name);
    std::string text = shape.Text();
    const size_t num_bytes = text.size();
    const double before = CpuSeconds();
    const auto document = JsonDocument::Parse(std::move(text), {});
    EXPECT_LT(CpuSeconds() - before, 2.0);
    if (document.ok()) {
      EXPECT_LT(document->held_bytes(), num_bytes + (size_t{32} << 20));
    } else {
      EXPECT_LT(document.status().message().size(), 400u);
    }
  }
}

}  // namespace
}  // namespace vl2
