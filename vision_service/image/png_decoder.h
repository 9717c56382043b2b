// PNG through libpng, which sees only what makes pixels: header, palette, transparency, image data.
//
// Text, profiles and chunks that nobody knows are skipped unread: their checksums are computed,
// what is compressed in them stays so. Rows go straight into the upright picture, those of an
// interlaced file too, so that nothing is held beside it. An index beyond the palette is a grey
// level, as with Pillow.
//
// Threading: free functions, thread-safe.
// Errors: INVALID_ARGUMENT saying what is cut off or corrupt; the meter's.
// Limits: none on the size: the caller checks the header's. Chunks are walked over, not read.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

struct PngHeader {
  Size size;  // as stored
  int bit_depth = 0;
  int color_type = 0;  // 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha
  bool interlaced = false;
  bool has_transparency = false;  // a tRNS chunk stands before the image data
  // Of the last valid eXIf chunk so far, wherever it stands: 1..8.
  int orientation = 1;
  // No chunk that could change the orientation can follow.
  bool orientation_is_final = false;

  bool has_alpha() const { return color_type >= 4 || has_transparency; }
  int num_bands() const {  // alpha included; a palette counts as its colours
    return (color_type == 0 || color_type == 4 ? 1 : 3) + has_alpha();
  }
  int num_sample_bytes() const { return bit_depth == 16 ? 2 : 1; }
};

// From the first bytes alone; needs the header chunk only.
absl::StatusOr<Size> PngHeaderSize(std::string_view bytes);

// Needs everything before the image data; looks through what follows as far as it is there.
absl::StatusOr<PngHeader> ReadPngHeader(std::string_view bytes);

struct PngRendering {
  int orientation = 1;  // to apply
  bool flatten_on_white = false;
  bool clip_16_bit_gray = false;  // PixelLayout's
};
absl::StatusOr<Image> DecodePng(std::string_view bytes, const PngHeader& header,
                                const PngRendering& rendering, DecodeMeter& meter);

}  // namespace vl2
