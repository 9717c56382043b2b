#include "text/pre_tokenizer.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Json kByteLevel = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};

Json Sequence(const Json& step) {
  return {{"type", "Sequence"}, {"pretokenizers", {step, kByteLevel}}};
}

Json SplitStep(const std::string& regex, const std::string& behavior, bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", behavior},
          {"invert", invert}};
}

std::vector<std::string> Words(const Json& json, const std::string& text) {
  const auto pre_tokenizer = PreTokenizer::FromJson(json);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  std::vector<std::string> words;
  RegexScratch scratch;
  const absl::Status status = pre_tokenizer->Split(text, scratch, [&](std::string_view word) {
    words.emplace_back(word);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return words;
}

// The examples of the published library's documentation.
TEST(PreTokenizer, SplitBehaviors) {
  const std::string text = "the-final--countdown";
  const auto split = [&](const char* behavior, bool invert = false) {
    return Words(Sequence(SplitStep("-", behavior, invert)), text);
  };
  EXPECT_THAT(split("Isolated"), ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(split("Removed"), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(split("MergedWithPrevious"), ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(split("MergedWithNext"), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(split("Contiguous"), ElementsAre("the", "-", "final", "--", "countdown"));
  EXPECT_THAT(split("Removed", true), ElementsAre("-", "-", "-"));
  EXPECT_THAT(split("MergedWithPrevious", true), ElementsAre("the", "-final", "-", "-countdown"));
}

TEST(PreTokenizer, LookAheadEndsWithThePiece) {
  const Json steps = {
      {"type", "Sequence"},
      {"pretokenizers",
       {SplitStep("x", "Isolated"), SplitStep(R"(\s+(?!\S)|\s+)", "Isolated"), kByteLevel}}};
  EXPECT_THAT(Words(steps, "a  b"), ElementsAre("a", " ", " ", "b"));
  EXPECT_THAT(Words(steps, "a  x"), ElementsAre("a", "  ", "x"));
}

TEST(PreTokenizer, StringPatternsAreLiteral) {
  const Json step = {{"type", "Split"}, {"pattern", {{"String", "a.c"}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(Words(Sequence(step), "abca.cabc"), ElementsAre("abc", "a.c", "abc"));
}

TEST(PreTokenizer, EmptyMatchesCut) {
  EXPECT_THAT(Words(Sequence(SplitStep("(?=b)", "Isolated")), "abbé"), ElementsAre("a", "b", "bé"));
  EXPECT_THAT(Words(Sequence(SplitStep("x*", "Isolated")), "éxxa"), ElementsAre("é", "xx", "a"));
}

TEST(PreTokenizer, Digits) {
  Json step = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_THAT(Words(Sequence(step), "a12½b"), ElementsAre("a", "1", "2", "½", "b"));
  step["individual_digits"] = false;
  EXPECT_THAT(Words(Sequence(step), "a12½b"), ElementsAre("a", "12½", "b"));
}

TEST(PreTokenizer, ByteLevel) {
  const Json full = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}};
  EXPECT_THAT(Words(full, "Hi you're  12x!"),
              ElementsAre(" Hi", " you", "'re", " ", " 12", "x", "!"));
  EXPECT_THAT(Words(full, " Hi"), ElementsAre(" Hi"));
  EXPECT_THAT(Words(full, ""), ElementsAre());
}

TEST(PreTokenizer, WhiteSpaceIsThatOfThePublishedLibrary) {
  const Json spaces = Sequence(SplitStep(R"(\s)", "Removed"));
  // The Mongolian vowel separator and the information separators are none.
  EXPECT_THAT(Words(spaces,
                    "a\xe1\xa0\x8e"
                    "b"),
              ElementsAre("a\xe1\xa0\x8e"
                          "b"));
  EXPECT_THAT(Words(spaces,
                    "a\x1c"
                    "b\u0085c\u3000d"),
              ElementsAre("a\x1c"
                          "b",
                          "c", "d"));
  EXPECT_THAT(Words(Sequence(SplitStep(R"([^\sb]+|\S)", "Removed")), "ab c"), ElementsAre(" "));
}

TEST(PreTokenizer, TrailingSpaceOfEveryLine) {
  const Json step = Sequence(SplitStep(R"(\s+$)", "Isolated"));
  EXPECT_THAT(Words(step, "a  b  "), ElementsAre("a  b", "  "));
  EXPECT_THAT(Words(step, "  a"), ElementsAre("  a"));
  EXPECT_THAT(Words(step, "a  \n x"), ElementsAre("a", "  ", "\n x"));
  EXPECT_THAT(Words(step, "   "), ElementsAre("   "));
}

// A cut that tries every start of a run of spaces would take hours here.
TEST(PreTokenizer, LongRunsOfSpaceTakeLinearTime) {
  const std::string text = std::string(4 << 20, ' ') + "x";
  EXPECT_EQ(Words(Sequence(SplitStep(R"(\s+$)", "Isolated")), text).size(), 1u);
  EXPECT_EQ(Words(Sequence(SplitStep(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", "Isolated")), text).size(), 3u);
}

std::string Refusal(const Json& json) {
  const auto pre_tokenizer = PreTokenizer::FromJson(json);
  EXPECT_FALSE(pre_tokenizer.ok());
  return Message(pre_tokenizer.status());
}

TEST(PreTokenizer, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(Refusal({{"type", "Metaspace"}}), HasSubstr("Metaspace is not supported"));
  EXPECT_THAT(Refusal(3), HasSubstr("pre_tokenizer.type: missing"));
  EXPECT_THAT(Refusal(SplitStep("a", "Isolated")), HasSubstr("no ByteLevel step"));
  EXPECT_THAT(Refusal(Sequence(SplitStep("a", "isolated"))),
              HasSubstr("pretokenizers[0].behavior: isolated is not supported"));
  EXPECT_THAT(Refusal(Sequence(SplitStep("(a", "Isolated"))), HasSubstr("does not compile"));
  EXPECT_THAT(Refusal(Sequence(SplitStep("[a-z&&[^b]]", "Isolated"))), HasSubstr("set operations"));
  EXPECT_THAT(Refusal(Sequence(SplitStep(R"(\h)", "Isolated"))), HasSubstr("not supported"));
  EXPECT_THAT(Refusal(Sequence(SplitStep(R"([\S])", "Isolated"))), HasSubstr("inside a class"));
  EXPECT_THAT(Refusal({{"type", "Sequence"}, {"pretokenizers", {kByteLevel, kByteLevel}}}),
              HasSubstr("after ByteLevel"));
  EXPECT_THAT(Refusal({{"type", "Sequence"}, {"pretokenizers", 1}}), HasSubstr("expected a list"));
}

TEST(Regex, GivesUpOnRunawayPatterns) {
  const auto regex = Regex::Compile("(?:(?:a|a)*)*c");
  ASSERT_TRUE(regex.ok()) << regex.status();
  RegexScratch scratch;
  TextRange match;
  EXPECT_FALSE(regex->Find(std::string(200, 'a') + "bc", 0, scratch, &match).ok());
}

// More backtracking points than fit into the 32 KiB that a match starts with.
TEST(Regex, StackGrowsWhenNeeded) {
  const auto regex = Regex::Compile("(?:(a|b)c?)+d");
  ASSERT_TRUE(regex.ok()) << regex.status();
  RegexScratch scratch;
  TextRange match;
  std::string text;
  for (int i = 0; i < 5000; ++i) text += i % 3 == 0 ? "bc" : "a";
  const auto found = regex->Find(text + "d", 0, scratch, &match);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(*found);
  EXPECT_EQ(match.end, text.size() + 1);
}

}  // namespace
}  // namespace vl2
