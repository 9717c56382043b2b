// BpeModel: byte-pair encoding of one word. Starts from single bytes and joins, again and again,
// the neighbours whose merge comes first in the merge list (the leftmost of equals), until none can
// be joined.
//
// Time is O(n log n) in the length of the word, so one huge word is no attack.
//
// Owns: the vocabulary and the merges of "model" in a tokenizer.json.
// Threading: immutable; each thread brings its own Scratch. Errors: INVALID_ARGUMENT naming the
// key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/json.h"
#include "text/string_map.h"

namespace vl2 {

class BpeModel {
 public:
  static constexpr int32_t kMaxId = (1 << 21) - 1;
  static constexpr size_t kMaxVocabulary = size_t{1} << 20;
  static constexpr size_t kMaxTokenBytes = 4096;

  // `json` is the value of "model". A word never becomes one of `reserved` (contents of control
  // tokens that stand in the vocabulary too), whatever the merges say.
  static absl::StatusOr<BpeModel> FromJson(const Json& json, const StringSet& reserved);

  // Working memory of Encode, to be kept between calls.
  struct Scratch {
    struct Symbol {
      int32_t id;  // -1: joined to its left neighbour
      int32_t previous;
      int32_t next;
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;
  };

  // Appends the ids of `word` to `ids`. REQUIRES: word.size() < 2^31.
  void Encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  struct Token {
    int32_t id;
    std::string content;  // as the file spells it
  };
  // All tokens of the file, reserved ones too; moved out by the tokenizer that builds its table.
  std::vector<Token> TakeTokens() { return std::move(tokens_); }

 private:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  static constexpr uint32_t kNoRank = UINT32_MAX;

  // Open-addressed hash table from a pair of ids to its merge.
  class MergeTable {
   public:
    void Reserve(size_t num_merges);
    void Put(int32_t left, int32_t right, Merge merge);
    // rank kNoRank when there is none.
    Merge Find(int32_t left, int32_t right) const;

   private:
    struct Slot {
      uint64_t key = UINT64_MAX;
      Merge merge = {kNoRank, -1};
    };
    size_t Index(uint64_t key) const { return (key * 0x9e3779b97f4a7c15u) >> shift_; }

    std::vector<Slot> slots_;
    int shift_ = 63;
  };

  absl::Status ReadVocabulary(const Json& json);
  absl::Status ReadMerges(const Json& json, const StringSet& reserved);
  void FindWholeWords(bool ignore_merges, const StringSet& reserved);

  void MergeShort(std::string_view word, std::vector<int32_t>& ids) const;
  void MergeLong(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  std::vector<Token> tokens_;
  std::array<int32_t, 256> byte_ids_;
  MergeTable merges_;
  // Words, as bytes, that are one token: all of the vocabulary's under "ignore_merges", otherwise
  // those that merging would arrive at. Most words of ordinary text are found here.
  StringMap<int32_t> whole_words_;
};

}  // namespace vl2
