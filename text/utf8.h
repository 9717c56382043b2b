// UTF-8: reading code points, repairing invalid text, and white space as Python's str.strip sees
// it.
//
// Invalid bytes are handled everywhere in the way the Unicode standard recommends and the published
// tokenizer library does: each maximal piece that cannot be part of a well-formed sequence counts
// as one U+FFFD. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vl2 {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";  // U+FFFD

enum class Utf8Kind {
  kValid,       // a whole code point
  kBad,         // bytes that no continuation can make valid
  kIncomplete,  // the text ends inside a sequence that is valid so far
};

struct Utf8Piece {
  Utf8Kind kind;
  char32_t code_point;  // only when kValid
  size_t num_bytes;     // 1..4; of a bad or incomplete piece the length of its maximal part
};

// The first piece of `text`. REQUIRES: text is not empty.
Utf8Piece ReadUtf8(std::string_view text);

bool IsValidUtf8(std::string_view text);

// Appends `text` to `out`, every bad or incomplete piece as one U+FFFD.
void AppendRepairedUtf8(std::string_view text, std::string& out);

// Appends the code point. REQUIRES: a Unicode scalar value.
void AppendUtf8(char32_t code_point, std::string& out);

// What Python's str.isspace accepts: Unicode White_Space and U+001C..U+001F. A zero width space is
// not white space.
bool IsWhiteSpace(char32_t code_point);

// `text` without white space at either end. REQUIRES: valid UTF-8.
std::string_view StripWhiteSpace(std::string_view text);
std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);

}  // namespace vl2
