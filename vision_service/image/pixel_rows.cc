#include "vision_service/image/pixel_rows.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"

namespace vl2 {
namespace {

// Rows turned at a time: enough for runs along upright rows, few enough for the cache.
constexpr int kStripRows = 16;

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
  const int alpha_at = layout.alpha_at();
  const bool clip = sizeof(Sample) == 2 && layout.clip_16_bit_gray;
  const int invert = sizeof(Sample) == 2 && layout.invert_16_bit_gray ? 0xffff : 0;
  for (int x = 0; x < width; ++x, in += num_samples, rgb += 3) {
    int color[3];
    if constexpr (kColor == ColorModel::kGray) {
      const auto value = static_cast<Sample>(in[0] ^ invert);
      const int gray = clip ? std::min<int>(value, 255) : ToByte(value);
      color[0] = color[1] = color[2] = gray;
    } else if constexpr (kColor == ColorModel::kRgb) {
      for (int c = 0; c < 3; ++c) color[c] = ToByte(in[c]);
    } else {
      const int paper = 255 - ToByte(in[3]);
      for (int c = 0; c < 3; ++c) color[c] = paper - MultiplyBytes(ToByte(in[c]), paper);
    }
    if (flatten) {
      const int alpha = ToByte(in[alpha_at]);
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
  if (layout.color == ColorModel::kRgb && layout.num_samples() == 3) {
    std::memcpy(rgb, samples, static_cast<size_t>(width) * 3);
    return;
  }
  ConvertSamples(static_cast<const uint8_t*>(samples), width, layout, flatten, rgb);
}

Size UprightSize(Size stored, int orientation) {
  return orientation >= 5 ? Size{stored.height, stored.width} : stored;
}

UprightPlaces MakeUprightPlaces(Size stored, int orientation, Image& image) {
  VL2_CHECK(orientation >= 1 && orientation <= 8 &&
            image.size() == UprightSize(stored, orientation))
      << stored << " by " << orientation << " into " << image.size();
  const bool transposed = orientation >= 5;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const ptrdiff_t along_row = from_right ? -3 : 3;
  const auto row_bytes = static_cast<ptrdiff_t>(image.row_bytes());
  const ptrdiff_t along_column = from_bottom ? -row_bytes : row_bytes;
  UprightPlaces places;
  places.step_x = transposed ? along_column : along_row;
  places.step_y = transposed ? along_row : along_column;
  places.origin =
      image.row(from_bottom ? image.height() - 1 : 0) + (from_right ? 3 * (image.width() - 1) : 0);
  return places;
}

UprightRows::UprightRows(Size stored, int orientation, Image& image)
    : stored_(stored),
      upright_(orientation == 1),
      image_(image),
      places_(MakeUprightPlaces(stored, orientation, image)) {
  if (!upright_) strip_.resize(static_cast<size_t>(stored.width) * 3 * kStripRows);
}

uint8_t* UprightRows::NextRow() {
  if (num_rows_ == kStripRows) PlaceStrip();
  const int row = first_row_ + num_rows_;
  VL2_CHECK(row < stored_.height) << row << " of " << stored_;
  ++num_rows_;
  if (upright_) return image_.row(row);
  return &strip_[static_cast<size_t>(stored_.width) * 3 * static_cast<size_t>(num_rows_ - 1)];
}

void UprightRows::PlaceStrip() {
  const size_t row_bytes = static_cast<size_t>(stored_.width) * 3;
  // Column by column: from orientation 5 on a stored column is a run of an upright row.
  for (int x = 0; !upright_ && x < stored_.width; ++x) {
    const uint8_t* in = strip_.data() + 3 * x;
    uint8_t* out = places_.At(x, first_row_);
    for (int y = 0; y < num_rows_; ++y, in += row_bytes, out += places_.step_y) {
      std::copy_n(in, 3, out);
    }
  }
  first_row_ += num_rows_;
  num_rows_ = 0;
}

}  // namespace vl2
