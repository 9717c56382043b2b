#include "tools/make_checkpoint/synthetic_tokenizer.h"

#include <array>
#include <string>

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Begin and end first, as in the published files; the rest at the end of the vocabulary.
constexpr std::array kLeading = {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"};
constexpr std::array kTrailing = {"<image>",  "<|ref|>",       "<|/ref|>", "<|det|>",
                                  "<|/det|>", "<|grounding|>", "<|User|>", "<|Assistant|>"};

// UTF-8 of a code point below U+0800.
std::string Utf8(int code) {
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 63))};
}

// The character that stands for each byte in byte-level vocabularies: printable bytes for
// themselves, the others from U+0100 on in order.
std::array<std::string, 256> ByteAlphabet() {
  std::array<std::string, 256> alphabet;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet[static_cast<size_t>(byte)] = Utf8(printable ? byte : next++);
  }
  return alphabet;
}

// " ba", " be", …: a space and syllables, a different word for each number.
std::string Word(int64_t number) {
  static constexpr std::string_view kConsonants = "bdfgklmnprstvz";
  static constexpr std::string_view kVowels = "aeiou";
  const int64_t num_syllables = static_cast<int64_t>(kConsonants.size() * kVowels.size());
  std::string word = Utf8(0x120);  // the byte-level space
  do {
    const int64_t syllable = number % num_syllables;
    word += kConsonants[static_cast<size_t>(syllable) / kVowels.size()];
    word += kVowels[static_cast<size_t>(syllable) % kVowels.size()];
    number = number / num_syllables - 1;
  } while (number >= 0);
  return word;
}

Json AddedToken(int64_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

SyntheticTokenizer MakeSyntheticTokenizer(int64_t vocab_size) {
  VL2_CHECK(vocab_size >= kMinSyntheticVocab) << vocab_size;
  Json vocab = Json::object();
  Json added = Json::array();
  int64_t id = 0;
  for (const char* content : kLeading) {
    added.push_back(AddedToken(id, content));
    vocab[content] = id++;
  }
  for (const std::string& character : ByteAlphabet()) vocab[character] = id++;
  const int64_t end = vocab_size - static_cast<int64_t>(kTrailing.size());
  for (int64_t word = 0; id < end; ++word) vocab[Word(word)] = id++;
  for (const char* content : kTrailing) added.push_back(AddedToken(id++, content));

  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", false}};
  SyntheticTokenizer result;
  result.tokenizer = {{"version", "1.0"},
                      {"truncation", nullptr},
                      {"padding", nullptr},
                      {"added_tokens", added},
                      {"normalizer", nullptr},
                      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {byte_level}}}},
                      {"post_processor", byte_level},
                      {"decoder", byte_level},
                      {"model",
                       {{"type", "BPE"},
                        {"dropout", nullptr},
                        {"unk_token", nullptr},
                        {"continuing_subword_prefix", nullptr},
                        {"end_of_word_suffix", nullptr},
                        {"fuse_unk", false},
                        {"byte_fallback", false},
                        {"vocab", vocab},
                        {"merges", Json::array()}}}};
  result.tokenizer_config = {{"add_bos_token", false},   {"add_eos_token", false},
                             {"bos_token", kLeading[0]}, {"eos_token", kLeading[1]},
                             {"pad_token", kLeading[2]}, {"tokenizer_class", "LlamaTokenizerFast"}};
  return result;
}

}  // namespace vl2
