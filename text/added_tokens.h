// Added tokens: those that a tokenizer matches in the text before any splitting into words.
//
// AddedTokenMatcher finds the leftmost match, and there the longest, as the published library does.
// Owns: a trie over the contents. Threading: immutable.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "text/regex.h"

namespace vl2 {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // matches only where no word character is beside it
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;
  bool normalized = true;  // matched after (instead of before) the tokens that are not
  bool special = false;    // left out by decoding that skips special tokens

  friend bool operator==(const AddedToken&, const AddedToken&) = default;
};

class AddedTokenMatcher {
 public:
  // REQUIRES: no empty content.
  static absl::StatusOr<AddedTokenMatcher> Create(const std::vector<AddedToken>& tokens);

  struct Piece {
    TextRange range;
    std::optional<int32_t> id;  // nothing: plain text
  };
  // Cuts `text` into tokens and the plain text between them, in order; no piece is empty.
  // REQUIRES: valid UTF-8.
  absl::StatusOr<std::vector<Piece>> Cut(std::string_view text, RegexScratch& scratch) const;

 private:
  struct Node {
    int32_t child = -1;  // first of a list linked by `sibling`
    int32_t sibling = -1;
    int32_t token = -1;  // index into tokens_ when a content ends here
    unsigned char byte = 0;
  };

  int32_t Child(int32_t node, unsigned char byte) const;
  void Insert(int32_t token);
  // The longest token that starts at `start`, or -1.
  int32_t LongestAt(std::string_view text, size_t start) const;
  absl::StatusOr<bool> BordersWord(std::string_view text, TextRange match,
                                   RegexScratch& scratch) const;

  std::vector<AddedToken> tokens_;
  std::array<int32_t, 256> roots_;
  std::vector<Node> nodes_;
  std::optional<Regex> word_character_;  // only when a token has single_word
};

}  // namespace vl2
