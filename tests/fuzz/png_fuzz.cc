// Any bytes as a PNG's chunks, with checksums put right so that mutations reach what is inside: the
// header is read and the picture decoded, with and without each policy's conversions, or an error.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/base/check.h"
#include "vision_service/image/png_decoder.h"

namespace {

void RightChecksums(std::string& png) {
  for (size_t at = 8; at + 12 <= png.size();) {
    uint32_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(png[at + i]);
    if (length > png.size() - at - 12) return;
    const uLong sum = crc32(0, reinterpret_cast<const Bytef*>(&png[at + 4]), 4 + length);
    for (size_t i = 0; i < 4; ++i) {
      png[at + 8 + length + i] = static_cast<char>(sum >> (24 - 8 * i));
    }
    at += 12 + length;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxPixels = 1 << 18;
  constexpr int kMaxSide = 4096;
  if (size < 8) return 0;
  std::string bytes("\x89PNG\r\n\x1a\n");
  bytes.append(reinterpret_cast<const char*>(data) + 8, size - 8);
  RightChecksums(bytes);
  const auto header = vl2::ReadPngHeader(bytes);
  if (!header.ok()) return 0;
  VL2_CHECK(header->orientation >= 1 && header->orientation <= 8) << header->orientation;
  const vl2::Size stored = header->size;
  if (stored.width < 1 || stored.height < 1 || stored.width > kMaxSide ||
      stored.height > kMaxSide || stored.area() > kMaxPixels) {
    return 0;
  }
  for (const bool serving : {false, true}) {
    const vl2::PngRendering rendering = {.orientation = serving ? header->orientation : 1,
                                         .flatten_on_white = serving,
                                         .clip_16_bit_gray = !serving};
    vl2::DecodeMeter meter(2000, nullptr);
    const auto image = vl2::DecodePng(bytes, *header, rendering, meter);
    const bool turned = rendering.orientation >= 5;
    VL2_CHECK(!image.ok() ||
              image->size() == (turned ? vl2::Size{stored.height, stored.width} : stored))
        << stored;
  }
  return 0;
}
