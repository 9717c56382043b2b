// Every line of every tokenizer/NAME_encode.jsonl and NAME_decode.jsonl of the golden data.
#include <filesystem>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "tests/text/golden_data.h"
#include "text/incremental_detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

struct GoldenFile {
  std::string name;  // of the tokenizer
  std::vector<Json> lines;
};

std::vector<GoldenFile> ReadGolden(const std::string& suffix) {
  std::vector<GoldenFile> files;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenPath("tokenizer"))) {
    const std::string file = entry.path().filename();
    if (!file.ends_with(suffix)) continue;
    GoldenFile golden{file.substr(0, file.size() - suffix.size()), {}};
    std::istringstream text(ReadFile(entry.path(), 64 << 20).value());
    for (std::string line; std::getline(text, line);) golden.lines.push_back(Json::parse(line));
    EXPECT_GT(golden.lines.size(), 10u) << file;
    files.push_back(std::move(golden));
  }
  EXPECT_FALSE(files.empty());
  return files;
}

Tokenizer LoadTokenizer(const std::string& name) {
  auto tokenizer = Tokenizer::Load(GoldenPath("tokenizer/" + name));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

using Ids = std::vector<int32_t>;

TEST(TokenizerGolden, Encodes) {
  for (const GoldenFile& file : ReadGolden("_encode.jsonl")) {
    const Tokenizer tokenizer = LoadTokenizer(file.name);
    for (const Json& line : file.lines) {
      EXPECT_EQ(
          *tokenizer.Encode(line["text"].get<std::string>(), {.control = ControlTokens::kAll}),
          line["ids"].get<Ids>())
          << file.name << " " << line["text"];
    }
  }
}

TEST(TokenizerGolden, AppendsMissingTokens) {
  const Tokenizer with = LoadTokenizer("small");
  const Tokenizer without = LoadTokenizer("small_without_added");
  ASSERT_EQ(without.id_limit(), with.id_limit());
  for (int32_t id = 0; id < with.id_limit(); ++id) {
    EXPECT_EQ(without.TokenBytes(id), with.TokenBytes(id));
    EXPECT_EQ(without.IsSpecial(id), with.IsSpecial(id)) << id;
  }
  EXPECT_EQ(without.control_ids().image, 510);
  EXPECT_EQ(without.control_ids().ref, 511);
  EXPECT_EQ(without.control_ids().grounding, 515);
  EXPECT_EQ(without.control_ids().assistant, 517);
  for (const GoldenFile& file : ReadGolden("_encode.jsonl")) {
    if (file.name != "small") continue;
    for (const Json& line : file.lines) {
      EXPECT_EQ(*without.Encode(line["text"].get<std::string>(), {.control = ControlTokens::kAll}),
                line["ids"].get<Ids>());
    }
  }
}

TEST(TokenizerGolden, Decodes) {
  for (const GoldenFile& file : ReadGolden("_decode.jsonl")) {
    const Tokenizer tokenizer = LoadTokenizer(file.name);
    for (const Json& line : file.lines) {
      const auto ids = line["ids"].get<Ids>();
      EXPECT_EQ(tokenizer.Decode(ids, SkipSpecial::kNone), line["text"].get<std::string>())
          << line["ids"];
      EXPECT_EQ(tokenizer.Decode(ids, SkipSpecial::kAll),
                line["text_skip_special"].get<std::string>());
    }
  }
}

TEST(TokenizerGolden, DecodesIncrementally) {
  for (const GoldenFile& file : ReadGolden("_decode.jsonl")) {
    const Tokenizer tokenizer = LoadTokenizer(file.name);
    for (const Json& line : file.lines) {
      for (const SkipSpecial skip : {SkipSpecial::kNone, SkipSpecial::kAll}) {
        IncrementalDetokenizer detokenizer(&tokenizer, skip);
        std::string text;
        for (const int32_t id : line["ids"].get<Ids>()) {
          const std::string piece = detokenizer.Push(id);
          EXPECT_TRUE(IsValidUtf8(piece));
          text += piece;
          EXPECT_EQ(detokenizer.num_text_bytes(), static_cast<int64_t>(text.size()));
        }
        text += detokenizer.Finish();
        EXPECT_EQ(
            text,
            line[skip == SkipSpecial::kAll ? "text_skip_special" : "text"].get<std::string>());
      }
    }
  }
}

// What a user types comes back as it was, whatever it spells.
TEST(TokenizerGolden, PlainTextRoundTrips) {
  for (const GoldenFile& file : ReadGolden("_encode.jsonl")) {
    const Tokenizer tokenizer = LoadTokenizer(file.name);
    for (const Json& line : file.lines) {
      const auto text = line["text"].get<std::string>();
      for (const ControlTokens control :
           {ControlTokens::kAll, ControlTokens::kGroundingOnly, ControlTokens::kNone}) {
        EXPECT_EQ(
            tokenizer.Decode(*tokenizer.Encode(text, {.control = control}), SkipSpecial::kNone),
            text);
      }
      const Ids plain = *tokenizer.Encode(text, {.control = ControlTokens::kNone});
      for (const int32_t id : plain) {
        EXPECT_FALSE(tokenizer.IsSpecial(id)) << text;
      }
    }
  }
}

}  // namespace
}  // namespace vl2
