#include "gateway/http/base64.h"

#include <array>
#include <cstdint>

#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kBad = 0xff;

constexpr std::array<uint8_t, 256> MakeTable() {
  std::array<uint8_t, 256> table{};
  for (auto& value : table) value = kBad;
  for (size_t i = 0; i < kAlphabet.size(); ++i) {
    table[static_cast<unsigned char>(kAlphabet[i])] = static_cast<uint8_t>(i);
  }
  return table;
}
constexpr std::array<uint8_t, 256> kTable = MakeTable();

absl::Status BadAt(size_t offset) {
  return InvalidArgument("not valid base64 at character ", offset);
}

}  // namespace

absl::StatusOr<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0) {
    return InvalidArgument("base64 text has ", text.size(), " characters, not a multiple of 4");
  }
  size_t num_padding = 0;
  if (!text.empty() && text.back() == '=') num_padding = text[text.size() - 2] == '=' ? 2 : 1;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    const size_t num_digits = i + 4 == text.size() ? 4 - num_padding : 4;
    uint32_t bits = 0;
    for (size_t k = 0; k < num_digits; ++k) {
      const uint8_t value = kTable[static_cast<unsigned char>(text[i + k])];
      if (value == kBad) return BadAt(i + k);
      bits |= uint32_t{value} << (18 - 6 * k);
    }
    // Bits that no byte takes must be zero, so that a file has one spelling only.
    if (num_digits == 3 && (bits & 0xff) != 0) return BadAt(i + 2);
    if (num_digits == 2 && (bits & 0xffff) != 0) return BadAt(i + 1);
    bytes.push_back(static_cast<char>(bits >> 16));
    if (num_digits > 2) bytes.push_back(static_cast<char>(bits >> 8));
    if (num_digits > 3) bytes.push_back(static_cast<char>(bits));
  }
  return bytes;
}

}  // namespace vl2::gateway
