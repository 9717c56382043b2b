// The files of a byte-level tokenizer small enough to read: every byte is a token (id = byte), then
// come the words that merges make.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/json.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace vl2 {

inline std::string ByteCharacters(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) AppendUtf8(ByteAlphabet()[static_cast<unsigned char>(byte)], token);
  return token;
}

struct TestFiles {
  Json tokenizer;
  Json config = {{"bos_token", "<begin>"}, {"eos_token", "<end>"}, {"pad_token", nullptr}};

  absl::StatusOr<Tokenizer> Build() const { return Tokenizer::FromJson(tokenizer, config); }
};

// `merges` are pairs of byte strings; their tokens get ids 256, 257, ... The tokens <begin> and
// <end> come next.
inline TestFiles MakeTestFiles(
    const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[ByteCharacters(std::string(1, static_cast<char>(byte)))] = byte;
  }
  Json merge_list = Json::array();
  int next = 256;
  for (const auto& [left, right] : merges) {
    vocabulary[ByteCharacters(left + right)] = next++;
    merge_list.push_back(ByteCharacters(left) + " " + ByteCharacters(right));
  }
  TestFiles files;
  files.tokenizer = {
      {"added_tokens",
       {{{"id", next}, {"content", "<begin>"}, {"special", true}, {"normalized", false}},
        {{"id", next + 1}, {"content", "<end>"}, {"special", true}, {"normalized", false}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merge_list}}}};
  return files;
}

}  // namespace vl2
