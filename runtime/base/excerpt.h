// Excerpt: text from outside as an error message may repeat it, at most 100 characters long.
//
// Whoever sends 64 MiB where a word was expected must not get them back. Cut between characters of
// UTF-8; what is left out is marked by its size. Pure function.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vl2 {

inline constexpr size_t kMaxExcerptCharacters = 100;

inline std::string Excerpt(std::string_view text) {
  size_t num_characters = 0;
  size_t end = 0;
  for (; end < text.size(); ++end) {
    const bool starts_character = (static_cast<unsigned char>(text[end]) & 0xc0) != 0x80;
    if (starts_character && num_characters++ == kMaxExcerptCharacters) break;
    // Stray continuation bytes belong to no character, and must not be free of charge.
    if (end == kMaxExcerptCharacters * 4) break;
  }
  std::string excerpt(text.substr(0, end));
  if (end < text.size()) excerpt += "... (" + std::to_string(text.size()) + " bytes)";
  return excerpt;
}

}  // namespace vl2
