#include "vision_service/image/pixel_rows.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"

namespace vl2 {
namespace {

// a·b/255, rounded to nearest; a, b in 0..255.
int MultiplyBytes(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

template <typename Sample>
int ToByte(Sample sample) {
  return sizeof(Sample) == 2 ? sample >> 8 : sample;
}

template <typename Sample, ColorModel kColor>
void Convert(const Sample* in, int width, const PixelLayout& layout, bool flatten, uint8_t* rgb) {
  const int num_samples = layout.num_samples();
  const bool clip = sizeof(Sample) == 2 && layout.clip_16_bit_gray;
  for (int x = 0; x < width; ++x, in += num_samples, rgb += 3) {
    int color[3];
    if constexpr (kColor == ColorModel::kGray) {
      const int gray = clip ? std::min<int>(in[0], 255) : ToByte(in[0]);
      color[0] = color[1] = color[2] = gray;
    } else if constexpr (kColor == ColorModel::kRgb) {
      for (int c = 0; c < 3; ++c) color[c] = ToByte(in[c]);
    } else {
      const int paper = 255 - ToByte(in[3]);
      for (int c = 0; c < 3; ++c) color[c] = paper - MultiplyBytes(ToByte(in[c]), paper);
    }
    if (flatten) {
      const int alpha = ToByte(in[num_samples - 1]);
      for (int& value : color) value = 255 - MultiplyBytes(255 - value, alpha);
    }
    for (int c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(color[c]);
  }
}

template <typename Sample>
void ConvertSamples(const Sample* in, int width, const PixelLayout& layout, bool flatten,
                    uint8_t* rgb) {
  switch (layout.color) {
    case ColorModel::kGray:
      return Convert<Sample, ColorModel::kGray>(in, width, layout, flatten, rgb);
    case ColorModel::kRgb:
      return Convert<Sample, ColorModel::kRgb>(in, width, layout, flatten, rgb);
    case ColorModel::kCmyk:
      return Convert<Sample, ColorModel::kCmyk>(in, width, layout, flatten, rgb);
  }
}

}  // namespace

void ConvertRow(const void* samples, int width, const PixelLayout& layout, bool flatten_on_white,
                uint8_t* rgb) {
  const bool flatten = flatten_on_white && layout.has_alpha;
  if (layout.is_16_bit) {
    return ConvertSamples(static_cast<const uint16_t*>(samples), width, layout, flatten, rgb);
  }
  if (layout.color == ColorModel::kRgb && !layout.has_alpha) {
    std::memcpy(rgb, samples, static_cast<size_t>(width) * 3);
    return;
  }
  ConvertSamples(static_cast<const uint8_t*>(samples), width, layout, flatten, rgb);
}

Size UprightSize(Size stored, int orientation) {
  return orientation >= 5 ? Size{stored.height, stored.width} : stored;
}

void PlaceRows(const uint8_t* rgb, size_t stride_bytes, int first_row, int num_rows, Size stored,
               int orientation, Image& image) {
  VL2_CHECK(orientation >= 1 && orientation <= 8 &&
            image.size() == UprightSize(stored, orientation))
      << stored << " by " << orientation << " into " << image.size();
  VL2_CHECK(first_row >= 0 && num_rows >= 0 && num_rows <= stored.height - first_row)
      << "rows " << first_row << "+" << num_rows << " of " << stored;
  if (orientation == 1) {
    for (int y = 0; y < num_rows; ++y) {
      std::memcpy(image.row(first_row + y), rgb + stride_bytes * static_cast<size_t>(y),
                  image.row_bytes());
    }
    return;
  }
  // Along each stored axis the upright position moves by a fixed number of bytes.
  const bool transposed = orientation >= 5;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const ptrdiff_t along_row = from_right ? -3 : 3;
  const auto row_bytes = static_cast<ptrdiff_t>(image.row_bytes());
  const ptrdiff_t along_column = from_bottom ? -row_bytes : row_bytes;
  const ptrdiff_t step_x = transposed ? along_column : along_row;
  const ptrdiff_t step_y = transposed ? along_row : along_column;
  uint8_t* const origin =
      image.row(from_bottom ? image.height() - 1 : 0) + (from_right ? 3 * (image.width() - 1) : 0);
  for (int x = 0; x < stored.width; ++x) {
    const uint8_t* in = rgb + 3 * x;
    uint8_t* out = origin + step_x * x + step_y * first_row;
    for (int y = 0; y < num_rows; ++y, in += stride_bytes, out += step_y) std::copy_n(in, 3, out);
  }
}

}  // namespace vl2
