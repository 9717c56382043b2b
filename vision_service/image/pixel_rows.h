// From a decoder's rows of samples to upright RGB: colour model, sample size, alpha, orientation.
//
// Threading: free functions, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vision_service/image/image.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

enum class ColorModel {
  kGray,
  kRgb,
  kCmyk,  // ink: 0 is none. Converted naively, as Pillow does: no profile
};

// Interleaved samples of a row, native byte order: colours, alpha, and what is not looked at.
struct PixelLayout {
  ColorModel color = ColorModel::kRgb;
  bool has_alpha = false;  // not premultiplied, behind the colours
  bool is_16_bit = false;  // else 8
  // 16-bit grey above 255 becomes 255, as Pillow converts its 16-bit modes; else the upper byte is
  // taken.
  bool clip_16_bit_gray = false;
  // 16-bit grey is stored with white as zero, and shown so all the same: what Pillow does.
  bool invert_16_bit_gray = false;
  // Samples that are neither colour nor alpha.
  int num_before_alpha = 0;  // between the two
  int num_ignored = 0;       // behind them

  int num_colors() const {
    return color == ColorModel::kGray ? 1 : color == ColorModel::kRgb ? 3 : 4;
  }
  int alpha_at() const { return num_colors() + num_before_alpha; }
  int num_samples() const { return alpha_at() + has_alpha + num_ignored; }
};

// `width` pixels to red green blue. Alpha is dropped, or with `flatten_on_white` blended with
// white.
void ConvertRow(const void* samples, int width, const PixelLayout& layout, bool flatten_on_white,
                uint8_t* rgb);

// The size of a stored picture when shown. Orientation is the Exif tag 1..8; from 5 on the sides
// change places.
Size UprightSize(Size stored, int orientation);

// Where the pixel (x, y) of a stored picture stands in the upright one: origin + x·step_x +
// y·step_y.
struct UprightPlaces {
  uint8_t* origin = nullptr;
  ptrdiff_t step_x = 0, step_y = 0;  // bytes

  uint8_t* At(int x, int y) const { return origin + step_x * x + step_y * y; }
};
// REQUIRES: image.size() == UprightSize(stored, orientation), orientation 1..8. Borrows the image.
UprightPlaces MakeUprightPlaces(Size stored, int orientation, Image& image);

// Takes the stored rows from top to bottom and puts them upright.
// Owns: a strip of a few rows; borrows the image. Threading: not thread-safe.
class UprightRows {
 public:
  // REQUIRES: as MakeUprightPlaces.
  UprightRows(Size stored, int orientation, Image& image);

  // Where the RGB of the next stored row is to be written, 3·width bytes; the row is complete when
  // the next one is asked for, or Finish is called.
  uint8_t* NextRow();
  // After the last row.
  void Finish() { PlaceStrip(); }

 private:
  void PlaceStrip();

  const Size stored_;
  const bool upright_;  // rows are written where they stay
  Image& image_;
  const UprightPlaces places_;
  std::vector<uint8_t> strip_;
  int first_row_ = 0;  // stored row of the strip's first
  int num_rows_ = 0;   // given out
};

}  // namespace vl2
