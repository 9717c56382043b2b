#include "gateway/http/base64.h"

#include <array>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
// Values of characters that are no digit; all have one of the two high bits, which no digit has.
constexpr uint8_t kBad = 0xff;
constexpr uint8_t kSpace = 0xfe;
constexpr uint8_t kPadding = 0xfd;
constexpr uint8_t kNoDigit = 0xc0;

constexpr std::array<uint8_t, 256> MakeTable() {
  std::array<uint8_t, 256> table{};
  for (auto& value : table) value = kBad;
  for (size_t i = 0; i < kAlphabet.size(); ++i) {
    table[static_cast<unsigned char>(kAlphabet[i])] = static_cast<uint8_t>(i);
  }
  for (const char c : {'\t', '\n', '\f', '\r', ' '}) table[static_cast<unsigned char>(c)] = kSpace;
  table['='] = kPadding;
  return table;
}
constexpr std::array<uint8_t, 256> kTable = MakeTable();

}  // namespace

Base64Decoder::Base64Decoder(size_t max_characters) : bytes_(max_characters / 4 * 3 + 3, '\0') {}

void Base64Decoder::Push(std::string_view piece) {
  if (fault_at_ != std::string::npos) return;
  for (size_t i = 0; i < piece.size();) {
    if (num_digits_ == 0 && num_padding_ == 0) i += PushGroups(piece.substr(i));
    if (i == piece.size()) return;
    PushCharacter(static_cast<unsigned char>(piece[i]));
    if (fault_at_ != std::string::npos) return;
    ++i;
  }
}

// Takes whole groups of four digits from the front: nearly all of any real text.
size_t Base64Decoder::PushGroups(std::string_view piece) {
  size_t i = 0;
  for (; i + 4 <= piece.size(); i += 4) {
    const auto digit = [&](size_t k) { return kTable[static_cast<unsigned char>(piece[i + k])]; };
    const uint8_t a = digit(0), b = digit(1), c = digit(2), d = digit(3);
    if (((a | b | c | d) & kNoDigit) != 0) break;
    VL2_CHECK(num_bytes_ + 3 <= bytes_.size()) << "more characters than were announced";
    bytes_[num_bytes_] = static_cast<char>(a << 2 | b >> 4);
    bytes_[num_bytes_ + 1] = static_cast<char>(b << 4 | c >> 2);
    bytes_[num_bytes_ + 2] = static_cast<char>(c << 6 | d);
    num_bytes_ += 3;
  }
  num_read_ += i;
  return i;
}

void Base64Decoder::PushCharacter(unsigned char c) {
  const uint8_t value = kTable[c];
  if (value == kPadding) {
    if (++num_padding_ > 2) fault_at_ = num_read_;
  } else if (value != kSpace) {
    if (value == kBad || num_padding_ > 0) {
      fault_at_ = num_read_;
      return;
    }
    bits_ = bits_ << 6 | value;
    if (++num_digits_ == 4) {
      VL2_CHECK(num_bytes_ + 3 <= bytes_.size()) << "more characters than were announced";
      for (const int shift : {16, 8, 0}) bytes_[num_bytes_++] = static_cast<char>(bits_ >> shift);
      bits_ = 0;
      num_digits_ = 0;
    }
  }
  ++num_read_;
}

absl::StatusOr<std::string> Base64Decoder::Finish() {
  if (fault_at_ != std::string::npos) {
    return InvalidArgument("not valid base64 at character ", fault_at_);
  }
  if (num_padding_ > 0 && num_digits_ + num_padding_ != 4) {
    return InvalidArgument("not valid base64: ", num_padding_, " padding characters after ",
                           num_digits_, " digits of the last group of four");
  }
  if (num_digits_ == 1)
    return InvalidArgument("not valid base64: one digit is left over at the end");
  if (num_digits_ == 2) bytes_[num_bytes_++] = static_cast<char>(bits_ >> 4);
  if (num_digits_ == 3) {
    bytes_[num_bytes_++] = static_cast<char>(bits_ >> 10);
    bytes_[num_bytes_++] = static_cast<char>(bits_ >> 2);
  }
  bytes_.resize(num_bytes_);
  return std::move(bytes_);
}

}  // namespace vl2::gateway
