#include "vision_service/image/image_format.h"

#include <algorithm>
#include <cstring>

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

int64_t CountHeldJpegSamples(std::string_view bytes) {
  const auto byte = [bytes](size_t at) {
    return static_cast<int64_t>(static_cast<uint8_t>(bytes[at]));
  };
  const auto pair = [&](size_t at) { return byte(at) << 8 | byte(at + 1); };
  size_t at = 2;
  while (at + 4 <= bytes.size()) {
    const int64_t marker = byte(at) == 0xff ? byte(at + 1) : 0xff;
    if (marker == 0xff) {  // fill byte or junk
      ++at;
      continue;
    }
    at += 2;
    if (marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd9)) continue;
    const bool is_frame = marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (!is_frame) {
      at += std::max<size_t>(static_cast<size_t>(pair(at)), 2);
      continue;
    }
    if (at + 8 > bytes.size()) return 0;
    const int64_t height = pair(at + 3), width = pair(at + 5);
    const auto num_components = static_cast<size_t>(byte(at + 7));
    if (at + 8 + 3 * num_components > bytes.size()) return 0;
    int64_t wide = 1, high = 1, samples_of_unit = 0;
    for (size_t i = 0; i < num_components; ++i) {
      const int64_t factors = byte(at + 9 + 3 * i);
      wide = std::max(wide, factors >> 4);
      high = std::max(high, factors & 15);
      samples_of_unit += (factors >> 4) * (factors & 15);
    }
    const bool progressive = (marker & 3) == 2;
    if (!progressive && CountJpegScans(bytes, 1) <= 1) return 0;
    // Whole blocks of 8 x 8, as many as the largest component has.
    const int64_t units =
        ((width + 8 * wide - 1) / (8 * wide)) * ((height + 8 * high - 1) / (8 * high));
    return units * samples_of_unit * 64;
  }
  return 0;
}

}  // namespace vl2
