// From a decoder's rows of samples to upright RGB: colour model, sample size, alpha, orientation.
//
// Threading: free functions, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vision_service/image/image.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

enum class ColorModel {
  kGray,
  kRgb,
  kCmyk,  // ink: 0 is none. Converted naively, as Pillow does: no profile
};

// Interleaved samples of a row, native byte order.
struct PixelLayout {
  ColorModel color = ColorModel::kRgb;
  bool has_alpha = false;  // not premultiplied, behind the colours
  bool is_16_bit = false;  // else 8
  // 16-bit grey above 255 becomes 255, as Pillow converts its 16-bit modes; else the upper byte is
  // taken.
  bool clip_16_bit_gray = false;

  int num_samples() const {
    return (color == ColorModel::kGray ? 1 : color == ColorModel::kRgb ? 3 : 4) + has_alpha;
  }
};

// `width` pixels to red green blue. Alpha is dropped, or with `flatten_on_white` blended with
// white.
void ConvertRow(const void* samples, int width, const PixelLayout& layout, bool flatten_on_white,
                uint8_t* rgb);

// The size of a stored picture when shown. Orientation is the Exif tag 1..8; from 5 on the sides
// change places.
Size UprightSize(Size stored, int orientation);

// Writes stored rows [first_row, first_row + num_rows) (RGB, stride_bytes apart) to their upright
// place. REQUIRES: image.size() == UprightSize(stored, orientation), orientation 1..8.
void PlaceRows(const uint8_t* rgb, size_t stride_bytes, int first_row, int num_rows, Size stored,
               int orientation, Image& image);

}  // namespace vl2
