// The byte-level alphabet of GPT-2 style tokenizers: each of the 256 bytes is written in vocabulary
// files as one printable character. Printable Latin-1 characters stand for themselves; the other
// bytes, in ascending order, are U+0100, U+0101, ...
//
// Source: bytes_to_unicode of the GPT-2 release, and the ByteLevel parts of the tokenizers library.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vl2 {

// The character of each byte.
const std::array<char32_t, 256>& ByteAlphabet();

// The bytes that `token` spells, or nothing when one of its characters is not in the alphabet (such
// tokens are plain text: most special tokens).
std::optional<std::string> BytesOfToken(std::string_view token);

}  // namespace vl2
