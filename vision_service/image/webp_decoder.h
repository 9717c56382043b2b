// The first frame of a WebP, through libwebp.
//
// Alpha is there when the file's flags say so, or the only frame has it, as Pillow reads it; what
// the first frame of an animation leaves free of the canvas is transparent black.
//
// Threading: free functions, thread-safe.
// Errors: INVALID_ARGUMENT saying what is cut off or corrupt; the meter's, asked every
//   kWebpStepBytes of the file.
// Limits: none on the size: the caller checks the header's, HeldBytes among it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

inline constexpr size_t kWebpStepBytes = size_t{32} << 10;

struct WebpHeader {
  Size canvas;         // as stored
  int num_frames = 0;  // counted up to the limit + 1
  bool has_alpha = false;
  int orientation = 1;  // of the EXIF chunk: 1..8
  int frame_x = 0;      // the first frame on the canvas
  int frame_y = 0;
  Size frame;
  bool frame_has_alpha = false;
  bool is_lossless = false;
  std::string_view frame_bytes;  // in the file's bytes

  // The frame can be decoded straight into the picture.
  bool IsPlain(int orientation, bool flatten_on_white) const {
    return frame == canvas && orientation == 1 && !(flatten_on_white && has_alpha);
  }
  // What libwebp and we hold beside the picture while decoding.
  int64_t HeldBytes(int orientation, bool flatten_on_white) const;
};

// Needs the whole file.
absl::StatusOr<WebpHeader> ReadWebpHeader(std::string_view bytes, int max_frames);

// `orientation` to apply, 1..8.
absl::StatusOr<Image> DecodeWebp(const WebpHeader& header, int orientation, bool flatten_on_white,
                                 DecodeMeter& meter);

}  // namespace vl2
