#include "text/added_tokens.h"

#include <algorithm>

#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2 {
namespace {

// What the published library's white space is: Unicode White_Space, which is Python's without the
// four separators U+001C..U+001F.
bool IsStrippedSpace(char32_t c) { return IsWhiteSpace(c) && !(c >= 0x1c && c <= 0x1f); }

// The start of the last character of `text`. REQUIRES: not empty.
size_t LastCharacter(std::string_view text) {
  size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
  return start;
}

size_t WithSpacesLeft(std::string_view text, size_t begin, size_t limit) {
  while (begin > limit) {
    const size_t start = LastCharacter(text.substr(0, begin));
    if (!IsStrippedSpace(ReadUtf8(text.substr(start)).code_point)) break;
    begin = start;
  }
  return std::max(begin, limit);
}

size_t WithSpacesRight(std::string_view text, size_t end) {
  while (end < text.size()) {
    const Utf8Piece piece = ReadUtf8(text.substr(end));
    if (!IsStrippedSpace(piece.code_point)) break;
    end += piece.num_bytes;
  }
  return end;
}

}  // namespace

absl::StatusOr<AddedTokenMatcher> AddedTokenMatcher::Create(const std::vector<AddedToken>& tokens) {
  AddedTokenMatcher matcher;
  matcher.tokens_ = tokens;
  matcher.roots_.fill(-1);
  bool single_word = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    matcher.Insert(static_cast<int32_t>(i));
    single_word |= tokens[i].single_word;
  }
  if (single_word) {
    VL2_ASSIGN_OR_RETURN(Regex word,
                         Regex::Compile(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])"));
    matcher.word_character_ = std::move(word);
  }
  return matcher;
}

int32_t AddedTokenMatcher::Child(int32_t node, unsigned char byte) const {
  int32_t child = nodes_[static_cast<size_t>(node)].child;
  while (child >= 0 && nodes_[static_cast<size_t>(child)].byte != byte) {
    child = nodes_[static_cast<size_t>(child)].sibling;
  }
  return child;
}

void AddedTokenMatcher::Insert(int32_t token) {
  const std::string& content = tokens_[static_cast<size_t>(token)].content;
  int32_t node = -1;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = node < 0 ? roots_[byte] : Child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({.child = -1, .sibling = -1, .token = -1, .byte = byte});
      if (node < 0) {
        roots_[byte] = next;
      } else {
        nodes_.back().sibling = nodes_[static_cast<size_t>(node)].child;
        nodes_[static_cast<size_t>(node)].child = next;
      }
    }
    node = next;
  }
  int32_t& end = nodes_[static_cast<size_t>(node)].token;
  if (end < 0) end = token;
}

int32_t AddedTokenMatcher::LongestAt(std::string_view text, size_t start) const {
  int32_t longest = -1;
  int32_t node = roots_[static_cast<unsigned char>(text[start])];
  for (size_t i = start; node >= 0;) {
    const int32_t token = nodes_[static_cast<size_t>(node)].token;
    if (token >= 0) longest = token;
    if (++i == text.size()) break;
    node = Child(node, static_cast<unsigned char>(text[i]));
  }
  return longest;
}

absl::StatusOr<bool> AddedTokenMatcher::BordersWord(std::string_view text, TextRange match,
                                                    RegexScratch& scratch) const {
  TextRange unused;
  if (match.begin > 0) {
    const std::string_view before = text.substr(0, match.begin);
    VL2_ASSIGN_OR_RETURN(
        const bool word,
        word_character_->Find(before.substr(LastCharacter(before)), 0, scratch, &unused));
    if (word) return true;
  }
  if (match.end == text.size()) return false;
  const std::string_view after = text.substr(match.end);
  return word_character_->Find(after.substr(0, ReadUtf8(after).num_bytes), 0, scratch, &unused);
}

absl::StatusOr<std::vector<AddedTokenMatcher::Piece>> AddedTokenMatcher::Cut(
    std::string_view text, RegexScratch& scratch) const {
  std::vector<Piece> pieces;
  size_t covered = 0;
  for (size_t i = 0; i < text.size();) {
    if (roots_[static_cast<unsigned char>(text[i])] < 0) {
      ++i;
      continue;
    }
    const int32_t index = LongestAt(text, i);
    if (index < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    TextRange range{i, i + token.content.size()};
    i = range.end;  // also behind a match that is discarded, as the published library does
    if (token.single_word) {
      VL2_ASSIGN_OR_RETURN(const bool inside, BordersWord(text, range, scratch));
      if (inside) continue;
    }
    if (token.lstrip) range.begin = WithSpacesLeft(text, range.begin, covered);
    if (token.rstrip) i = range.end = WithSpacesRight(text, range.end);
    if (covered < range.begin) pieces.push_back({{covered, range.begin}, std::nullopt});
    pieces.push_back({range, token.id});
    covered = range.end;
  }
  if (covered < text.size()) pieces.push_back({{covered, text.size()}, std::nullopt});
  return pieces;
}

}  // namespace vl2
