#include "vision_service/image/image_format.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

bool HasAt(std::string_view bytes, size_t offset, std::string_view expected) {
  return bytes.size() >= offset + expected.size() &&
         bytes.substr(offset, expected.size()) == expected;
}

// What refused bytes look like, or "" when nothing known.
std::string_view NameOfRefused(std::string_view bytes) {
  using namespace std::string_view_literals;
  if (HasAt(bytes, 0, "BM")) return "BMP";
  if (HasAt(bytes, 0, "%PDF")) return "PDF";
  if (HasAt(bytes, 0, "%!PS")) return "PostScript";
  if (HasAt(bytes, 0, "8BPS")) return "Photoshop";
  if (HasAt(bytes, 0, "\x00\x00\x01\x00"sv)) return "ICO";
  if (HasAt(bytes, 0, "\xff\x0a"sv) || HasAt(bytes, 4, "JXL ")) return "JPEG XL";
  if (HasAt(bytes, 4, "jP  ")) return "JPEG 2000";
  if (HasAt(bytes, 4, "ftypavif") || HasAt(bytes, 4, "ftypavis")) return "AVIF";
  if (HasAt(bytes, 4, "ftyp")) return "HEIF or another ISO media file";
  const std::string_view head = bytes.substr(0, 1024);
  if (head.find("<svg") != std::string_view::npos) return "SVG";
  if (HasAt(bytes, 0, "<?xml") || HasAt(bytes, 0, "<")) return "XML or HTML";
  return "";
}

// Reads the integers of a classic or a big TIFF.
class TiffReader {
 public:
  explicit TiffReader(std::string_view bytes)
      : bytes_(bytes), little_(bytes[0] == 'I'), big_(Read(2, 2) == 43) {}

  bool big() const { return big_; }
  bool Holds(uint64_t offset, uint64_t num_bytes) const {
    return offset <= bytes_.size() && num_bytes <= bytes_.size() - offset;
  }
  // Zero outside the bytes.
  uint64_t Read(uint64_t offset, int num_bytes) const {
    if (!Holds(offset, static_cast<uint64_t>(num_bytes))) return 0;
    uint64_t value = 0;
    for (int i = 0; i < num_bytes; ++i) {
      const auto at =
          static_cast<size_t>(offset) + static_cast<size_t>(little_ ? num_bytes - 1 - i : i);
      value = value << 8 | static_cast<uint8_t>(bytes_[at]);
    }
    return value;
  }
  uint64_t ReadOffset(uint64_t offset) const { return Read(offset, big_ ? 8 : 4); }
  int count_bytes() const { return big_ ? 8 : 2; }
  uint64_t entry_bytes() const { return big_ ? 20 : 12; }

  // The first value of the entry at `entry`, for the types SHORT, LONG and LONG8.
  uint64_t EntryValue(uint64_t entry) const {
    const uint64_t value_at = entry + (big_ ? 12 : 8);
    switch (Read(entry + 2, 2)) {
      case 3:
        return Read(value_at, 2);
      case 4:
        return Read(value_at, 4);
      case 16:
        return Read(value_at, 8);
      default:
        return 0;
    }
  }

 private:
  std::string_view bytes_;
  bool little_;
  bool big_;
};

absl::Status CheckTileSize(const TiffReader& tiff, uint64_t entries, uint64_t count,
                           int64_t max_pixels) {
  constexpr uint64_t kTileWidth = 322, kTileLength = 323;
  uint64_t width = 0, length = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t entry = entries + i * tiff.entry_bytes();
    const uint64_t tag = tiff.Read(entry, 2);
    if (tag == kTileWidth) width = tiff.EntryValue(entry);
    if (tag == kTileLength) length = tiff.EntryValue(entry);
  }
  const auto limit = static_cast<uint64_t>(max_pixels);
  if (width > limit || length > limit || (width != 0 && length > limit / width)) {
    return InvalidArgument("TIFF tiles of ", width, " x ", length, " pixels, the limit is ",
                           max_pixels, " pixels");
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
    case ImageFormat::kGif:
      return "GIF";
    case ImageFormat::kTiff:
      return "TIFF";
  }
  return "?";
}

absl::StatusOr<ImageFormat> DetectFormat(std::string_view bytes) {
  using namespace std::string_view_literals;
  if (bytes.empty()) return InvalidArgument("image: 0 bytes");
  if (HasAt(bytes, 0, "\xff\xd8\xff")) return ImageFormat::kJpeg;
  if (HasAt(bytes, 0, "\x89PNG\r\n\x1a\n")) return ImageFormat::kPng;
  if (HasAt(bytes, 0, "RIFF") && HasAt(bytes, 8, "WEBP")) return ImageFormat::kWebp;
  if (HasAt(bytes, 0, "GIF87a") || HasAt(bytes, 0, "GIF89a")) return ImageFormat::kGif;
  for (const std::string_view magic : {"II*\0"sv, "MM\0*"sv, "II+\0"sv, "MM\0+"sv}) {
    if (HasAt(bytes, 0, magic)) return ImageFormat::kTiff;
  }
  constexpr std::string_view accepted = "accepted are JPEG, PNG, WebP, GIF and TIFF";
  const std::string_view refused = NameOfRefused(bytes);
  if (!refused.empty()) return InvalidArgument("image format ", refused, ": ", accepted);
  return InvalidArgument("image format not recognised in ", bytes.size(), " bytes: ", accepted);
}

absl::StatusOr<Size> PngHeaderSize(std::string_view bytes) {
  if (bytes.size() < 33 || !HasAt(bytes, 12, "IHDR")) {
    return InvalidArgument("PNG is truncated or corrupt: no header chunk in ", bytes.size(),
                           " bytes");
  }
  const auto side = [bytes](size_t offset) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
    return static_cast<int>(std::min<uint32_t>(value, std::numeric_limits<int>::max()));
  };
  return Size{side(16), side(20)};
}

absl::StatusOr<int> CountTiffPages(std::string_view bytes, int max_frames, int64_t max_pixels) {
  if (bytes.size() < 8) return InvalidArgument("TIFF of ", bytes.size(), " bytes is truncated");
  const TiffReader tiff(bytes);
  uint64_t directory = tiff.ReadOffset(tiff.big() ? 8 : 4);
  int pages = 0;
  while (directory != 0 && pages <= max_frames) {
    const auto count_bytes = static_cast<uint64_t>(tiff.count_bytes());
    if (!tiff.Holds(directory, count_bytes)) {
      return InvalidArgument("TIFF is truncated: directory of page ", pages + 1, " at byte ",
                             directory, " of ", bytes.size());
    }
    const uint64_t count = tiff.Read(directory, tiff.count_bytes());
    const uint64_t entries = directory + count_bytes;
    if (count > bytes.size() || !tiff.Holds(entries, count * tiff.entry_bytes())) {
      return InvalidArgument("TIFF is truncated: directory of page ", pages + 1, " has ", count,
                             " entries");
    }
    if (pages == 0) VL2_RETURN_IF_ERROR(CheckTileSize(tiff, entries, count, max_pixels));
    ++pages;
    directory = tiff.ReadOffset(entries + count * tiff.entry_bytes());
  }
  return pages;
}

int CountJpegScans(std::string_view bytes, int max_scans) {
  // Inside entropy-coded data 0xff is followed by 0x00 or by a restart marker, so the pair 0xff
  // 0xda outside of a segment's payload starts a scan. Payloads are skipped by their length.
  int scans = 0;
  size_t at = 2;
  while (at + 1 < bytes.size() && scans <= max_scans) {
    const void* found = std::memchr(bytes.data() + at, 0xff, bytes.size() - at - 1);
    if (found == nullptr) break;
    at = static_cast<size_t>(static_cast<const char*>(found) - bytes.data());
    const auto marker = static_cast<uint8_t>(bytes[at + 1]);
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    at += 2;
    if (marker == 0xd9) break;
    if (marker == 0xda) ++scans;
    const bool has_payload = marker >= 0xc0 && !(marker >= 0xd0 && marker <= 0xd9);
    if (has_payload && at + 2 <= bytes.size()) {
      const size_t length = static_cast<size_t>(static_cast<uint8_t>(bytes[at])) << 8 |
                            static_cast<uint8_t>(bytes[at + 1]);
      at += std::max<size_t>(length, 2);
    }
  }
  return scans;
}

}  // namespace vl2
