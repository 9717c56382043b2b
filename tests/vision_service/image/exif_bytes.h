// Exif blocks made by hand, broken ones too, and pictures that carry them. Test-only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vision_service/image/tile_plan.h"

namespace vl2 {

// One entry of a TIFF directory: `value` are its four bytes for little-endian blocks; as a number.
struct ExifEntry {
  uint32_t tag = 0;
  uint32_t type = 0;
  uint32_t count = 0;
  uint32_t value = 0;
};
inline constexpr ExifEntry OrientationEntry(uint32_t orientation) {
  return {274, 3, 1, orientation};
}

// A block without the "Exif\0\0" before it. A SHORT's value stands in the first two bytes of four.
std::string ExifOf(const std::vector<ExifEntry>& entries, bool big_endian = false);

// `jpeg` with a segment of this marker and payload behind its first two bytes.
std::string JpegWithSegment(std::string_view jpeg, uint8_t marker, std::string_view payload);
// `png` with a chunk before the chunk of this kind, its first occurrence; "" at the very end.
std::string PngWithChunk(std::string_view png, std::string_view kind, std::string_view data,
                         std::string_view before);
// A simple WebP file (one VP8 or VP8L chunk) as an extended one with an EXIF chunk behind.
std::string WebpWithExif(std::string_view webp, Size size, std::string_view exif);

}  // namespace vl2
