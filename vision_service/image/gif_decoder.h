// The first frame of a GIF. Written here because the two readings of a GIF differ where it counts:
// the published processor shows a transparent pixel in the palette's colour for it, libvips hands
// out black; and because counting the frames must not decode them.
//
// Like Pillow: a frame that sticks out of the logical screen enlarges it; the screen outside the
// frame has the transparent index, or index 0; indices beyond a short palette are grey levels, and
// so is everything where there is no palette.
//
// Threading: free functions, thread-safe.
// Errors: INVALID_ARGUMENT saying what is cut off or corrupt.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

struct GifHeader {
  Size screen;         // pixels; holds the first frame
  int num_frames = 0;  // counted up to the limit + 1
  int frame_x = 0;     // the first frame on the screen
  int frame_y = 0;
  Size frame;
  bool interlaced = false;
  int transparent_index = -1;  // -1: none
  std::string_view palette;    // red green blue, in the file's bytes; empty: grey levels
  size_t data_offset = 0;      // of the code size in front of the first frame's pixels

  // Some pixel of the screen may show what is behind it.
  bool has_alpha() const { return transparent_index >= 0 || frame != screen; }
};

// Walks over the blocks. Frames behind the first may be cut off: they are not shown.
absl::StatusOr<GifHeader> ReadGifHeader(std::string_view bytes, int max_frames);

// Indices become colours as they come: nothing is held beside the picture. With white_background,
// pixels that show what is behind are white.
absl::StatusOr<Image> DecodeGif(std::string_view bytes, const GifHeader& header,
                                bool white_background, DecodeMeter& meter);

}  // namespace vl2
