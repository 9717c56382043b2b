#include "text/byte_alphabet.h"

#include "text/utf8.h"

namespace vl2 {
namespace {

constexpr char32_t kNumCharacters = 256 + 68;  // 68 bytes are not printable

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

// -1 where no byte is written so.
std::array<int16_t, kNumCharacters> MakeByteOfCharacter() {
  std::array<int16_t, kNumCharacters> bytes;
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) {
    bytes[ByteAlphabet()[static_cast<size_t>(byte)]] = static_cast<int16_t>(byte);
  }
  return bytes;
}

}  // namespace

const std::array<char32_t, 256>& ByteAlphabet() {
  static const std::array<char32_t, 256> alphabet = [] {
    std::array<char32_t, 256> characters;
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      characters[static_cast<size_t>(byte)] =
          StandsForItself(byte) ? static_cast<char32_t>(byte) : next++;
    }
    return characters;
  }();
  return alphabet;
}

std::optional<std::string> BytesOfToken(std::string_view token) {
  static const std::array<int16_t, kNumCharacters> byte_of = MakeByteOfCharacter();
  std::string bytes;
  while (!token.empty()) {
    const Utf8Piece piece = ReadUtf8(token);
    if (piece.kind != Utf8Kind::kValid || piece.code_point >= kNumCharacters ||
        byte_of[piece.code_point] < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(byte_of[piece.code_point]));
    token.remove_prefix(piece.num_bytes);
  }
  return bytes;
}

}  // namespace vl2
