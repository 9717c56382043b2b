// Text that leaves token by token: IncrementalDetokenizer and StopMatcher.
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/text/test_tokenizer.h"
#include "text/incremental_detokenizer.h"
#include "text/stop_matcher.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

TEST(Utf8, StripsWhatPythonStrips) {
  EXPECT_EQ(StripWhiteSpace(" \t\n\x1c\u0085\u00a0\u2003\u3000 a b \u2028\x1f"), "a b");
  EXPECT_EQ(StripWhiteSpace("\u200bzw\u200b"), "\u200bzw\u200b");
  EXPECT_EQ(StripWhiteSpace("\ufeffx"), "\ufeffx");
  EXPECT_EQ(StripWhiteSpace(" \u3000"), "");
  EXPECT_EQ(StripWhiteSpace(""), "");
}

TEST(Utf8, OneReplacementPerMaximalPiece) {
  const auto repaired = [](std::string_view bytes) {
    std::string text;
    AppendRepairedUtf8(bytes, text);
    EXPECT_TRUE(IsValidUtf8(text));
    EXPECT_EQ(IsValidUtf8(bytes), text == bytes);
    return text;
  };
  // Table 3-8 of the Unicode standard, and its neighbours.
  EXPECT_EQ(repaired("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64"),
            "a\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffd"
            "d");
  EXPECT_EQ(repaired("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"),
            "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
            "A");
  EXPECT_EQ(repaired("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"),
            "\ufffd\ufffd\ufffd\ufffd\ufffd"
            "A\ufffd\ufffd"
            "B");
  EXPECT_EQ(repaired("\xf4\x8f\xbf\xbf\xef\xbf\xbf\xed\x9f\xbf"), "\U0010ffff\uffff\ud7ff");
}

TEST(IncrementalDetokenizer, EqualsDecodeForRandomBytes) {
  const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles({{"\xe4", "\xbd"}, {"\xa0", "\xf0"}}));
  std::mt19937 random(3);
  // Bytes that begin, continue and break characters.
  const int32_t choices[] = {'a',  0x80, 0xbd, 0xa0, 0xc3, 0xe4, 0xf0,
                             0x9f, 0xff, 256,  257,  258,  9999, 0xed};
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < 12; ++i) ids.push_back(choices[random() % std::size(choices)]);
    for (const SkipSpecial skip :
         {SkipSpecial::kNone, SkipSpecial::kAll, SkipSpecial::kAllButGrounding}) {
      IncrementalDetokenizer detokenizer(&tokenizer, skip);
      std::string text;
      for (const int32_t id : ids) {
        const std::string piece = detokenizer.Push(id);
        ASSERT_TRUE(IsValidUtf8(piece));
        text += piece;
        ASSERT_EQ(detokenizer.num_text_bytes(), static_cast<int64_t>(text.size()));
      }
      text += detokenizer.Finish();
      ASSERT_EQ(text, tokenizer.Decode(ids, skip)) << ::testing::PrintToString(ids);
      ASSERT_TRUE(detokenizer.at_boundary());
    }
  }
}

TEST(IncrementalDetokenizer, ReleasesAsSoonAsACharacterIsWhole) {
  const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles());
  IncrementalDetokenizer detokenizer(&tokenizer, SkipSpecial::kAll);
  EXPECT_EQ(detokenizer.Push(0xe4), "");
  EXPECT_EQ(detokenizer.Push(0xbd), "");
  EXPECT_FALSE(detokenizer.at_boundary());
  EXPECT_EQ(detokenizer.Push(0xa0), "\u4f60");
  EXPECT_TRUE(detokenizer.at_boundary());
  EXPECT_EQ(detokenizer.Push(0xf0), "");
  EXPECT_EQ(detokenizer.Push('x'), "\ufffdx");
  EXPECT_EQ(detokenizer.Push(0xf0), "");
  EXPECT_EQ(detokenizer.Finish(), "\ufffd");
  EXPECT_EQ(detokenizer.Finish(), "");
}

// What a stream of `pieces` releases, and which stop string ends it.
struct Outcome {
  std::string text;
  std::optional<size_t> stop;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome Stream(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  auto matcher = StopMatcher::Create(stops);
  EXPECT_TRUE(matcher.ok()) << matcher.status();
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.text += matcher->Push(piece);
  outcome.text += matcher->Finish();
  outcome.stop = matcher->stop();
  return outcome;
}

TEST(StopMatcher, HoldsBackOnlyAPossibleStart) {
  StopMatcher matcher = *StopMatcher::Create({"User:", "###"});
  EXPECT_EQ(matcher.Push("hello U"), "hello ");
  EXPECT_EQ(matcher.Push("se"), "");
  EXPECT_EQ(matcher.held_bytes(), 3u);
  EXPECT_EQ(matcher.Push("x#"), "Usex");
  EXPECT_EQ(matcher.Push("#"), "");
  EXPECT_EQ(matcher.Push("User: more"), "##");
  EXPECT_EQ(matcher.stop(), 0u);
  EXPECT_EQ(matcher.Push("User: more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, Choices) {
  EXPECT_EQ(Stream({"b", "abc"}, {"xabc"}), (Outcome{"xa", 0}));     // ends first
  EXPECT_EQ(Stream({"c", "abc"}, {"xa", "bc"}), (Outcome{"x", 1}));  // the longest
  EXPECT_EQ(Stream({"aab"}, {"aa", "aab"}), (Outcome{"aa", 0}));     // overlapping starts
  EXPECT_EQ(Stream({}, {"abc"}), (Outcome{"abc", std::nullopt}));
  EXPECT_EQ(Stream({"abc"}, {"ab"}), (Outcome{"ab", std::nullopt}));
  EXPECT_EQ(Stream({"abc"}, {"abc"}), (Outcome{"", 0}));
}

TEST(StopMatcher, AgreesWithSearchForRandomSplits) {
  std::mt19937 random(11);
  const auto word = [&](size_t max) {
    std::string text;
    const size_t length = 1 + random() % max;
    while (text.size() < length) text.push_back("ab"[random() % 2]);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = 0; i < 1 + random() % 3; ++i) stops.push_back(word(6));
    std::vector<std::string> pieces;
    std::string text;
    for (size_t i = 0; i < 6; ++i) text += pieces.emplace_back(word(4));

    Outcome expected{text, std::nullopt};
    size_t best_end = std::string::npos;
    for (size_t i = 0; i < stops.size(); ++i) {
      const size_t found = text.find(stops[i]);
      if (found == std::string::npos) continue;
      const size_t end = found + stops[i].size();
      if (end < best_end || (end == best_end && stops[i].size() > stops[*expected.stop].size())) {
        best_end = end;
        expected = {text.substr(0, found), i};
      }
    }
    ASSERT_EQ(Stream(stops, pieces), expected) << ::testing::PrintToString(stops) << text;
  }
}

TEST(StopMatcher, NeverSplitsACharacter) {
  StopMatcher matcher = *StopMatcher::Create({"\u4f60\u597d"});
  EXPECT_EQ(matcher.Push("a\u4f60"), "a");
  EXPECT_EQ(matcher.Push("\u4f61"), "\u4f60\u4f61");
}

TEST(StopMatcher, RefusesBadStops) {
  const auto refusal = [](std::vector<std::string> stops) {
    return Message(StopMatcher::Create(std::move(stops)).status());
  };
  EXPECT_THAT(refusal({""}), HasSubstr("0 bytes"));
  EXPECT_THAT(refusal({std::string(5000, 'a')}), HasSubstr("5000 bytes"));
  EXPECT_THAT(refusal(std::vector<std::string>(65, "a")), HasSubstr("the limit is 64"));
  EXPECT_THAT(refusal({"\xff"}), HasSubstr("UTF-8"));
}

}  // namespace
}  // namespace vl2
