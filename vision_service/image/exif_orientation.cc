#include "vision_service/image/exif_orientation.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

namespace vl2 {
namespace {

using namespace std::string_view_literals;

constexpr uint64_t kOrientationTag = 274;
constexpr uint64_t kEntryBytes = 12;

// Reads integers of either byte order; zero bytes stand for what lies outside.
class ExifReader {
 public:
  explicit ExifReader(std::string_view bytes) : bytes_(bytes), little_(bytes[0] == 'I') {}

  bool Holds(uint64_t offset, uint64_t num_bytes) const {
    return offset <= bytes_.size() && num_bytes <= bytes_.size() - offset;
  }
  // REQUIRES: Holds(offset, num_bytes).
  uint64_t Read(uint64_t offset, int num_bytes) const {
    uint64_t value = 0;
    for (int i = 0; i < num_bytes; ++i) {
      const int place = little_ ? num_bytes - 1 - i : i;
      value = value << 8 | static_cast<uint8_t>(bytes_[offset + static_cast<uint64_t>(place)]);
    }
    return value;
  }

 private:
  std::string_view bytes_;
  bool little_;
};

// Size of one value of a TIFF type that holds numbers; 0: none, or not a number.
int NumberBytes(uint64_t type) {
  switch (type) {
    case 6:  // SBYTE
      return 1;
    case 3:  // SHORT
    case 8:  // SSHORT
      return 2;
    case 4:   // LONG
    case 9:   // SLONG
    case 11:  // FLOAT
    case 13:  // IFD
      return 4;
    case 5:   // RATIONAL
    case 10:  // SRATIONAL
    case 12:  // DOUBLE
    case 16:  // LONG8
      return 8;
    default:
      return 0;
  }
}

template <typename Float, typename Bits>
Float FromBits(Bits bits) {
  Float value;
  static_assert(sizeof(value) == sizeof(bits));
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The number at `offset` if it is 1..8; else 0. Negative numbers read as large ones.
int SmallNumber(const ExifReader& exif, uint64_t offset, uint64_t type, int num_bytes) {
  double value = 0;
  if (type == 5 || type == 10) {
    const uint64_t denominator = exif.Read(offset + 4, 4);
    if (denominator == 0) return 0;
    value = static_cast<double>(exif.Read(offset, 4)) / static_cast<double>(denominator);
  } else if (type == 11) {
    value = FromBits<float>(static_cast<uint32_t>(exif.Read(offset, 4)));
  } else if (type == 12) {
    value = FromBits<double>(exif.Read(offset, 8));
  } else {
    value = static_cast<double>(exif.Read(offset, num_bytes));
  }
  const bool valid = value >= 1 && value <= 8 && value == std::floor(value);
  return valid ? static_cast<int>(value) : 0;
}

// What the directory entry at `entry` says; nullopt when it cannot be read, 0 when it is no
// orientation.
std::optional<int> EntryOrientation(const ExifReader& exif, uint64_t entry) {
  const uint64_t type = exif.Read(entry + 2, 2);
  const uint64_t count = exif.Read(entry + 4, 4);
  const int num_bytes = NumberBytes(type);
  if (count == 0 || type == 0 || type > 16) return std::nullopt;
  if (num_bytes == 0) return 0;
  const uint64_t value_bytes = count * static_cast<uint64_t>(num_bytes);
  const uint64_t offset = value_bytes <= 4 ? entry + 8 : exif.Read(entry + 8, 4);
  if (!exif.Holds(offset, value_bytes)) return std::nullopt;
  return SmallNumber(exif, offset, type, num_bytes);
}

}  // namespace

int ExifOrientation(std::string_view exif) {
  if (exif.starts_with("Exif\0\0"sv)) exif.remove_prefix(6);
  if (exif.size() < 8) return 1;
  const std::string_view magic = exif.substr(0, 4);
  // The swapped ones are wrong, and read as the letters say all the same.
  if (magic != "II*\0"sv && magic != "MM\0*"sv && magic != "II\0*"sv && magic != "MM*\0"sv) {
    return 1;
  }
  const ExifReader reader(exif);
  const uint64_t directory = reader.Read(4, 4);
  if (!reader.Holds(directory, 2)) return 1;
  const uint64_t count = reader.Read(directory, 2);
  int orientation = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t entry = directory + 2 + i * kEntryBytes;
    if (!reader.Holds(entry, kEntryBytes)) break;
    if (reader.Read(entry, 2) != kOrientationTag) continue;
    orientation = EntryOrientation(reader, entry).value_or(orientation);
  }
  return orientation == 0 ? 1 : orientation;
}

}  // namespace vl2
