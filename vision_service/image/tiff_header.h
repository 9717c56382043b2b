// What the first directory of a TIFF says, read before libtiff sees the file: enough to refuse what
// would be shown wrongly or cost too much.
//
// Accepted are grey, RGB, palettes and CMYK, and YCbCr inside JPEG compression, whose decoder gives
// RGB. Other photometric interpretations (YCbCr otherwise, CIELab, LogLuv, masks, camera raw …) are
// refused by name: their samples are no colours that could be shown.
//
// Threading: free functions, thread-safe.
// Errors: INVALID_ARGUMENT naming the tag's value.
// Limits: pages are counted up to max_frames + 1, a longer chain (or a circular one) stops there;
//   200,000 entries in all directories together.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

struct TiffHeader {
  int num_frames = 0;  // pages
  int num_colors = 3;  // as libvips gives them: a palette counts as its three colours
  int num_extra = 0;   // samples of a pixel behind the colours
  int alpha_at = -1;   // which of them is alpha; -1: none
  bool white_is_zero = false;
  // Of the blocks that a decoder must hold whole, strips or tiles: 0 when none is known.
  Size block;
  bool is_tiled = false;
};

// INVALID_ARGUMENT too when the directory of a page lies outside the bytes.
absl::StatusOr<TiffHeader> ReadTiffHeader(std::string_view bytes, int max_frames);

}  // namespace vl2
