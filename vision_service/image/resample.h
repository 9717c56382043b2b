// Resampler: one image resized to one size, rows on demand. Bit-equal to Pillow's
// Image.resize(size, BICUBIC) on RGB images.
//
// Two separable passes, first along rows, then along columns, 8 bits in between. A pass whose size
// does not change is left out. Output sample i of a pass with `scale` = in / out looks at the input
// around c = (i + 0.5)·scale, through the cubic of Keys with a = -0.5 stretched by max(scale, 1)
// (so shrinking filters out what the smaller grid cannot hold); the window is cut at the borders
// and its weights made to add up to one again. Weights are fixed point with 22 fractional bits,
// rounded half away from zero; sums are 32-bit integers, rounded half up and clipped to 0..255.
//
// Owns: the weights and a band of half-resized rows (a few hundred kB); borrows the image.
// Threading: not thread-safe; any number of Resamplers may share an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/base/aligned_buffer.h"
#include "vision_service/image/image.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

// The weights of one pass.
struct ResampleWeights {
  static constexpr int kFractionBits = 22;

  struct Window {
    int first = 0;  // input sample
    int count = 0;  // samples, at least one
  };
  std::vector<Window> windows;   // one per output sample
  int stride = 0;                // weights reserved per output sample, a multiple of kStrideUnit
  std::vector<int32_t> weights;  // [output samples, stride], zero behind a window's count

  // Room for the widest vector to read whole steps of taps.
  static constexpr int kStrideUnit = 4;
};
// REQUIRES: sizes 1..kMaxPlannedSide.
ResampleWeights MakeBicubicWeights(int in_size, int out_size);

class Resampler {
 public:
  // REQUIRES: sides of `size` 1..kMaxPlannedSide; `image` outlives this.
  Resampler(const Image& image, Size size);

  Size size() const { return size_; }

  // Writes output rows [first, first + count) to out, out + stride_bytes, ... Exactly 3·width bytes
  // of each row are touched. Cheapest when called from top to bottom.
  // REQUIRES: 0 <= first, first + count <= size().height.
  void Rows(int first, int count, uint8_t* out, size_t stride_bytes);

 private:
  // Makes band_ hold the input rows [first, first + count), resized along x.
  void FillBand(int first, int count);
  void HorizontalRows(int first, int count, uint8_t* out, size_t stride_bytes) const;
  uint8_t* BandRow(int index) {
    return reinterpret_cast<uint8_t*>(band_.data()) + band_stride_ * static_cast<size_t>(index);
  }

  const Image& image_;
  const Size size_;
  const bool resize_x_;
  const bool resize_y_;
  ResampleWeights x_weights_;
  ResampleWeights y_weights_;
  // Rows half-way: already resized along x, not yet along y.
  AlignedBuffer band_;
  size_t band_stride_ = 0;  // bytes
  int band_rows_ = 0;       // capacity
  int band_first_ = 0;      // input row of the band's first row
  int band_count_ = 0;      // rows held
};

// The whole picture at once.
Image Resize(const Image& image, Size size);

}  // namespace vl2
