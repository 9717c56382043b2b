#include "text/utf8.h"

#include <cstring>

namespace vl2 {
namespace {

bool IsContinuation(unsigned char byte) { return (byte & 0xc0) == 0x80; }

// The number of leading ASCII bytes, eight at a time.
size_t AsciiPrefix(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, sizeof(word));
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Piece ReadUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8Kind::kValid, lead, 1};

  // The second byte's range is narrower after some leads: no overlong forms, no surrogates, nothing
  // above U+10FFFF.
  size_t length;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  char32_t code_point;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
    code_point = lead & 0x1f;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    code_point = lead & 0x0f;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    code_point = lead & 0x07;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return {Utf8Kind::kBad, 0, 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Kind::kIncomplete, 0, i};
    if (byte(i) < low || byte(i) > high) return {Utf8Kind::kBad, 0, i};
    code_point = (code_point << 6) | (byte(i) & 0x3f);
    low = 0x80;
    high = 0xbf;
  }
  return {Utf8Kind::kValid, code_point, length};
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t ascii = AsciiPrefix(text);
    text.remove_prefix(ascii);
    if (text.empty()) return true;
    const Utf8Piece piece = ReadUtf8(text);
    if (piece.kind != Utf8Kind::kValid) return false;
    text.remove_prefix(piece.num_bytes);
  }
  return true;
}

void AppendRepairedUtf8(std::string_view text, std::string& out) {
  while (!text.empty()) {
    const size_t ascii = AsciiPrefix(text);
    out.append(text.substr(0, ascii));
    text.remove_prefix(ascii);
    if (text.empty()) return;
    const Utf8Piece piece = ReadUtf8(text);
    out.append(piece.kind == Utf8Kind::kValid ? text.substr(0, piece.num_bytes)
                                              : kReplacementCharacter);
    text.remove_prefix(piece.num_bytes);
  }
}

void AppendUtf8(char32_t code_point, std::string& out) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3f));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::string_view StripLeft(std::string_view text) {
  while (!text.empty()) {
    const Utf8Piece piece = ReadUtf8(text);
    if (piece.kind != Utf8Kind::kValid || !IsWhiteSpace(piece.code_point)) break;
    text.remove_prefix(piece.num_bytes);
  }
  return text;
}

std::string_view StripRight(std::string_view text) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 &&
           IsContinuation(static_cast<unsigned char>(text[start]))) {
      --start;
    }
    const Utf8Piece piece = ReadUtf8(text.substr(start));
    if (piece.kind != Utf8Kind::kValid || !IsWhiteSpace(piece.code_point)) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::string_view StripWhiteSpace(std::string_view text) { return StripLeft(StripRight(text)); }

}  // namespace vl2
