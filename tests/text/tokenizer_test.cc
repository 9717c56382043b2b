#include "text/tokenizer.h"

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/text/test_tokenizer.h"

namespace vl2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr EncodeOptions kAllControl{.control = ControlTokens::kAll};

Json Added(int id, const std::string& content, const Json& flags = Json::object()) {
  Json token = {{"id", id}, {"content", content}, {"normalized", false}};
  token.update(flags);
  return token;
}

// A tokenizer of single bytes (ids 0..255) with <begin> 256, <end> 257 and these added tokens.
Tokenizer WithAdded(const std::vector<Json>& tokens) {
  TestFiles files = MakeTestFiles();
  for (const Json& token : tokens) files.tokenizer["added_tokens"].push_back(token);
  return BuildTokenizer(files);
}

TEST(AddedTokens, LeftmostThenLongest) {
  const Tokenizer tokenizer = WithAdded({Added(300, "ab"), Added(301, "abcd"), Added(302, "bcde")});
  EXPECT_THAT(*tokenizer.Encode("abcde"), ElementsAre(301, 'e'));
  EXPECT_THAT(*tokenizer.Encode("abcab"), ElementsAre(300, 'c', 300));
  EXPECT_THAT(*tokenizer.Encode("xbcde"), ElementsAre('x', 302));
}

TEST(AddedTokens, StripFlags) {
  const Tokenizer tokenizer = WithAdded({Added(300, "[l]", {{"lstrip", true}}),
                                         Added(301, "[r]", {{"rstrip", true}}), Added(302, "[n]")});
  EXPECT_THAT(*tokenizer.Encode("a \u3000[l] b"), ElementsAre('a', 300, ' ', 'b'));
  EXPECT_THAT(*tokenizer.Encode("a [r] \n b"), ElementsAre('a', ' ', 301, 'b'));
  EXPECT_THAT(*tokenizer.Encode("[r]  [l] [n] "), ElementsAre(301, 300, ' ', 302, ' '));
}

TEST(AddedTokens, SingleWord) {
  const Tokenizer tokenizer = WithAdded({Added(300, "cat", {{"single_word", true}})});
  EXPECT_THAT(*tokenizer.Encode("cat,cat"), ElementsAre(300, ',', 300));
  EXPECT_THAT(*tokenizer.Encode("cats"), ElementsAre('c', 'a', 't', 's'));
  EXPECT_EQ(tokenizer.Encode("\u00e9cat")->size(), 5u);
}

// Tokens that are not normalized are cut out first, wherever the others would match.
TEST(AddedTokens, NotNormalizedComeFirst) {
  const Tokenizer tokenizer =
      WithAdded({Added(300, "abc", {{"normalized", true}}), Added(301, "bcd")});
  EXPECT_THAT(*tokenizer.Encode("abcd"), ElementsAre('a', 301));
  EXPECT_THAT(*tokenizer.Encode("abc"), ElementsAre(300));
}

TEST(ControlTokens, TextIsStructureOnlyWhereAllowed) {
  const Tokenizer tokenizer =
      WithAdded({Added(300, "<｜User｜>", {{"normalized", true}}), Added(301, "\u00f8")});
  const ControlTokenIds& ids = tokenizer.control_ids();
  const auto encode = [&](const char* text, ControlTokens control) {
    return *tokenizer.Encode(text, {.control = control});
  };
  for (const char* text :
       {"<image>", "<|User|>", "<|Assistant|>", "<begin>", "<end>", "<｜▁pad▁｜>", "<｜User｜>"}) {
    EXPECT_EQ(encode(text, ControlTokens::kAll).size(), 1u) << text;
    for (const ControlTokens control : {ControlTokens::kGroundingOnly, ControlTokens::kNone}) {
      EXPECT_EQ(encode(text, control).size(), std::string_view(text).size()) << text;
    }
  }
  EXPECT_THAT(encode("<|ref|>a<|/ref|>", ControlTokens::kGroundingOnly),
              ElementsAre(ids.ref, 'a', ids.end_ref));
  EXPECT_THAT(encode("<|det|><|/det|><|grounding|>", ControlTokens::kGroundingOnly),
              ElementsAre(ids.det, ids.end_det, ids.grounding));
  EXPECT_EQ(encode("<|ref|>", ControlTokens::kNone).size(), 7u);
  EXPECT_THAT(encode("\u00f8", ControlTokens::kNone), ElementsAre(301));
}

// Not even when the vocabulary holds such a token and merges that lead to it.
TEST(ControlTokens, MergesNeverMakeThem) {
  TestFiles files = MakeTestFiles({{"<", "a"}, {"<a", ">"}});
  files.tokenizer["added_tokens"].push_back(Added(257, "<a>", {{"special", true}}));
  // MakeTestFiles numbers <begin> after the merges: 258, 259.
  for (const bool ignore_merges : {false, true}) {
    files.tokenizer["model"]["ignore_merges"] = ignore_merges;
    const Tokenizer tokenizer = BuildTokenizer(files);
    EXPECT_THAT(*tokenizer.Encode("<a>", kAllControl), ElementsAre(257));
    EXPECT_THAT(*tokenizer.Encode("<a>"), ElementsAre(256, '>'));
  }
}

TEST(Tokenizer, AppendsMissingTokensInThePublishedOrder) {
  const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles());
  const ControlTokenIds& ids = tokenizer.control_ids();
  EXPECT_EQ(ids.begin, 256);
  EXPECT_EQ(ids.end, 257);
  EXPECT_EQ(ids.pad, 258);
  EXPECT_EQ(ids.image, 259);
  EXPECT_EQ(ids.ref, 260);
  EXPECT_EQ(ids.end_ref, 261);
  EXPECT_EQ(ids.det, 262);
  EXPECT_EQ(ids.end_det, 263);
  EXPECT_EQ(ids.grounding, 264);
  EXPECT_EQ(ids.user, 265);
  EXPECT_EQ(ids.assistant, 266);
  EXPECT_EQ(tokenizer.id_limit(), 267);
  EXPECT_TRUE(tokenizer.IsSpecial(ids.user));
  EXPECT_EQ(tokenizer.TokenBytes(ids.pad), "<｜▁pad▁｜>");
  EXPECT_EQ(tokenizer.FindToken("<image>"), ids.image);
  EXPECT_EQ(tokenizer.FindToken("<nothing>"), std::nullopt);
}

TEST(Tokenizer, OnlyWhatIsMissingIsAppended) {
  TestFiles files = MakeTestFiles();
  files.tokenizer["added_tokens"].push_back(Added(400, "<|det|>"));  // not marked special
  files.config["pad_token"] = {{"content", "<end>"}};
  const Tokenizer tokenizer = BuildTokenizer(files);
  EXPECT_EQ(tokenizer.control_ids().pad, 257);
  EXPECT_EQ(tokenizer.control_ids().det, 400);
  EXPECT_TRUE(tokenizer.IsSpecial(400));
  EXPECT_EQ(tokenizer.control_ids().image, 401);
  EXPECT_EQ(tokenizer.control_ids().end_det, 404);
}

TEST(Tokenizer, RepairsInvalidText) {
  const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles());
  EXPECT_THAT(*tokenizer.Encode(std::string_view("a\0b", 3)), ElementsAre('a', 0, 'b'));
  // A stray byte, a lone surrogate (three bad pieces), an open character at the end.
  EXPECT_EQ(*tokenizer.Encode("\xff"), *tokenizer.Encode("\ufffd"));
  EXPECT_EQ(*tokenizer.Encode("\xed\xa0\x80"), *tokenizer.Encode("\ufffd\ufffd\ufffd"));
  EXPECT_EQ(*tokenizer.Encode("\xe4\xbd"), *tokenizer.Encode("\ufffd"));
  EXPECT_EQ(*tokenizer.Encode("\xe4\xbdx"), *tokenizer.Encode("\ufffdx"));
}

TEST(Tokenizer, LimitsBytesAndTokens) {
  const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles());
  EXPECT_THAT(Message(tokenizer.Encode("12345", {.max_text_bytes = 4}).status()),
              HasSubstr("5 bytes, the limit is 4"));
  EXPECT_TRUE(tokenizer.Encode("1234", {.max_text_bytes = 4, .max_tokens = 4}).ok());
  EXPECT_THAT(Message(tokenizer.Encode("12345", {.max_tokens = 4}).status()),
              HasSubstr("more than 4 tokens"));
  EXPECT_FALSE(tokenizer.Encode("<|ref|><|ref|>", {.max_tokens = 1}).ok());
}

TEST(Tokenizer, DecodesAnyIds) {
  const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles());
  EXPECT_EQ(
      tokenizer.Decode(Ids{'a', -1, 1'000'000, INT32_MIN, INT32_MAX, 'b'}, SkipSpecial::kNone),
      "ab");
  EXPECT_EQ(tokenizer.Decode(Ids{0xe4, 0xbd, 256, 0xa0}, SkipSpecial::kNone),
            "\ufffd<begin>\ufffd");
  const ControlTokenIds& control = tokenizer.control_ids();
  EXPECT_EQ(tokenizer.Decode(Ids{256, control.ref, 'a', control.end_ref, control.user},
                             SkipSpecial::kAllButGrounding),
            "<|ref|>a<|/ref|>");
  // A token that is skipped is not there: the bytes on both sides make one character.
  EXPECT_EQ(tokenizer.Decode(Ids{0xe4, 0xbd, 256, 0xa0}, SkipSpecial::kAll), "\u4f60");
}

// The definition, step by step: join the leftmost of the pairs with the lowest rank.
Ids SlowBpe(const std::string& word, const std::map<std::pair<int, int>, int>& merges) {
  Ids ids;
  for (const char c : word) ids.push_back(static_cast<unsigned char>(c));
  while (true) {
    int best = INT32_MAX;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto it = merges.find({ids[i], ids[i + 1]});
      if (it != merges.end() && it->second < best) {
        best = it->second;
        at = i;
      }
    }
    if (best == INT32_MAX) return ids;
    ids[at] = 256 + best;
    ids.erase(ids.begin() + static_cast<int64_t>(at) + 1);
  }
}

TEST(Bpe, AgreesWithTheDefinition) {
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return random() % n; };
  for (int round = 0; round < 30; ++round) {
    // Random merges over three letters, each of tokens that exist by then.
    std::vector<std::string> tokens = {"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> pairs;
    std::map<std::pair<int, int>, int> merges;
    std::map<std::string, int> ids = {{"a", 'a'}, {"b", 'b'}, {"c", 'c'}};
    for (int i = 0; i < 40; ++i) {
      const std::string left = tokens[below(tokens.size())];
      const std::string right = tokens[below(tokens.size())];
      if (!ids.emplace(left + right, 256 + static_cast<int>(pairs.size())).second) continue;
      merges[{ids[left], ids[right]}] = static_cast<int>(pairs.size());
      pairs.emplace_back(left, right);
      tokens.push_back(left + right);
    }
    const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles(pairs));
    for (const size_t length : {1u, 2u, 3u, 5u, 17u, 63u, 64u, 65u, 66u, 300u}) {
      std::string word;
      while (word.size() < length) word.push_back("abcd"[below(4)]);
      ASSERT_EQ(*tokenizer.Encode(word), SlowBpe(word, merges)) << word;
    }
  }
}

TEST(Bpe, MergesMayBeArraysAndBeIgnored) {
  TestFiles files = MakeTestFiles({{"b", "c"}, {"a", "b"}, {"ab", "c"}});
  EXPECT_THAT(*BuildTokenizer(files).Encode("abc"), ElementsAre('a', 256));
  files.tokenizer["model"]["merges"] = Json::parse(R"([["b", "c"], ["a", "b"], ["ab", "c"]])");
  EXPECT_THAT(*BuildTokenizer(files).Encode("abc"), ElementsAre('a', 256));
  files.tokenizer["model"]["ignore_merges"] = true;
  EXPECT_THAT(*BuildTokenizer(files).Encode("abc"), ElementsAre(258));
}

// One word of ten million letters: quadratic merging would take days.
TEST(Bpe, HugeWordsTakeLinearithmicTime) {
  const Tokenizer tokenizer = BuildTokenizer(
      MakeTestFiles({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}, {"b", "a"}, {"a", "b"}}));
  EXPECT_EQ(tokenizer.Encode(std::string(10'000'000, 'a'))->size(), 1'250'000u);
  std::string mixed;
  for (int i = 0; i < 1'000'000; ++i) mixed += i % 3 == 0 ? "b" : "a";
  EXPECT_EQ(tokenizer.Decode(*tokenizer.Encode(mixed), SkipSpecial::kNone), mixed);
}

TEST(Tokenizer, ThreadsShareOne) {
  const Tokenizer tokenizer = BuildTokenizer(MakeTestFiles({{"a", "b"}}));
  const std::string text = "abc <|ref|> \u4f60 ab";
  const Ids expected = *tokenizer.Encode(text);
  std::vector<std::thread> threads;
  std::atomic<int> num_wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        if (*tokenizer.Encode(text) != expected) ++num_wrong;
        if (tokenizer.Decode(expected, SkipSpecial::kNone) != text) ++num_wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_wrong, 0);
}

struct RefusalCase {
  const char* change;  // JSON merge patch of tokenizer.json
  const char* message;
};

TEST(Tokenizer, RefusesMalformedFiles) {
  const RefusalCase cases[] = {
      {R"({"model": null})", "pre_tokenizer and model are needed"},
      {R"({"model": {"type": "Unigram"}})", "Unigram is not supported"},
      {R"({"model": {"byte_fallback": true}})", "byte_fallback"},
      {R"({"model": {"dropout": 0.1}})", "dropout"},
      {R"({"model": {"end_of_word_suffix": "</w>"}})", "end_of_word_suffix"},
      {R"({"model": {"vocab": []}})", "expected an object"},
      {R"({"model": {"vocab": {"a": -1}}})", "the id of \"a\""},
      {R"({"model": {"vocab": {"a": 98}}})", "id 98 is used twice"},
      {R"({"model": {"vocab": {"a": 99999999}}})", "the id of \"a\""},
      {R"({"model": {"vocab": {"a": null}}})", "no token for byte 97"},
      {R"({"model": {"merges": ["a b c"]}})", "merges[0]"},
      {R"({"model": {"merges": ["a b"]}})", "have to be in the vocabulary"},
      {R"({"model": {"merges": [["a"]]}})", "merges[0]"},
      {R"({"model": {"merges": 7}})", "expected a list"},
      {R"({"added_tokens": [{"id": 300, "content": ""}]})", "0 bytes"},
      {R"({"added_tokens": [{"id": -3, "content": "x"}]})", "outside"},
      {R"({"added_tokens": [{"content": "x"}]})", "missing"},
      {R"({"added_tokens": {}})", "expected a list"},
      {R"({"added_tokens": [{"id": 97, "content": "xy"}]})", "id 97"},
      {R"({"added_tokens": [{"id": 300, "content": "x"}, {"id": 300, "content": "y"}]})",
       "is also that of"},
      {R"({"added_tokens": []})", "\"<begin>\" is not in the vocabulary"},
      {R"({"normalizer": {"type": "NFC"}})", "NFC is not supported"},
      {R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}})", "normalizer"},
      {R"({"decoder": {"type": "Metaspace"}})", "Metaspace is not supported"},
      {R"({"decoder": null})", "decoder: missing"},
  };
  for (const RefusalCase& refusal : cases) {
    TestFiles files = MakeTestFiles();
    files.tokenizer.merge_patch(Json::parse(refusal.change));
    EXPECT_THAT(Message(files.Build().status()), HasSubstr(refusal.message)) << refusal.change;
  }
  TestFiles files = MakeTestFiles();
  files.config["eos_token"] = 3;
  EXPECT_THAT(Message(files.Build().status()), HasSubstr("tokenizer_config.json.eos_token"));
  files = MakeTestFiles();
  files.config["clean_up_tokenization_spaces"] = true;
  EXPECT_THAT(Message(files.Build().status()), HasSubstr("clean_up_tokenization_spaces"));
  EXPECT_FALSE(Tokenizer::FromJson(3, Json::array()).ok());
  EXPECT_EQ(Tokenizer::Load("/nonexistent").status().code(), absl::StatusCode::kNotFound);
}

TEST(Tokenizer, ConfigFlagsCount) {
  TestFiles files = MakeTestFiles();
  files.config["added_tokens_decoder"] = {
      {"256", {{"content", "<begin>"}, {"special", false}, {"normalized", true}}},
      {"300", {{"content", "xyz"}, {"special", true}}}};
  const Tokenizer tokenizer = BuildTokenizer(files);
  EXPECT_FALSE(tokenizer.IsSpecial(256));
  EXPECT_TRUE(tokenizer.IsSpecial(300));
  EXPECT_THAT(*tokenizer.Encode("xyz", kAllControl), ElementsAre(300));
  files.config["added_tokens_decoder"] = {{"301", {{"content", "<begin>"}}}};
  EXPECT_THAT(Message(files.Build().status()), HasSubstr("elsewhere 256"));
  files.config["added_tokens_decoder"] = {{"-1", {{"content", "<begin>"}}}};
  EXPECT_THAT(Message(files.Build().status()), HasSubstr("not a token id"));
}

}  // namespace
}  // namespace vl2
