// Any bytes behind "GIF89a": a picture of the size that the header says, or an error.
#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/base/check.h"
#include "vision_service/image/gif_decoder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int kMaxFrames = 20;
  constexpr int64_t kMaxPixels = 1 << 18;
  const std::string bytes = "GIF89a" + std::string(reinterpret_cast<const char*>(data), size);
  const auto header = vl2::ReadGifHeader(bytes, kMaxFrames);
  if (!header.ok()) return 0;
  VL2_CHECK(header->num_frames >= 1 && header->num_frames <= kMaxFrames + 1) << header->num_frames;
  if (header->screen.area() > kMaxPixels) return 0;
  for (const bool white_background : {false, true}) {
    vl2::DecodeMeter meter(2000, nullptr);
    const auto image = vl2::DecodeGif(bytes, *header, white_background, meter);
    VL2_CHECK(!image.ok() || image->size() == header->screen) << header->screen;
  }
  return 0;
}
