#include "vision_service/image/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/check.h"
#include "vision_service/image/resample_kernels.h"

namespace vl2 {
namespace {

// Output rows worked on at once: enough to reuse the overlap of windows, few enough that the band
// of input rows behind them stays in the second-level cache.
constexpr int kRowsPerStep = 16;

// The interpolating cubic of Keys with a = -0.5; zero from |x| = 2 on.
double Cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

int32_t ToFixedPoint(double weight) {
  constexpr double one = 1 << ResampleWeights::kFractionBits;
  return static_cast<int32_t>(weight < 0 ? weight * one - 0.5 : weight * one + 0.5);
}

}  // namespace

ResampleWeights MakeBicubicWeights(int in_size, int out_size) {
  VL2_CHECK(in_size > 0 && in_size <= kMaxPlannedSide && out_size > 0 &&
            out_size <= kMaxPlannedSide)
      << in_size << " to " << out_size;
  const double scale = static_cast<double>(in_size) / out_size;
  const double stretch = std::max(scale, 1.0);
  const double support = 2.0 * stretch;
  const double inverse_stretch = 1.0 / stretch;
  const int max_count = std::min(in_size, static_cast<int>(std::ceil(support)) * 2 + 1);

  ResampleWeights result;
  constexpr int unit = ResampleWeights::kStrideUnit;
  result.stride = (max_count + unit - 1) / unit * unit;
  result.windows.resize(static_cast<size_t>(out_size));
  result.weights.resize(static_cast<size_t>(out_size) * static_cast<size_t>(result.stride));
  std::vector<double> window(static_cast<size_t>(max_count));
  for (int i = 0; i < out_size; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int end = std::min(in_size, static_cast<int>(center + support + 0.5));
    const int count = end - first;
    VL2_CHECK(count > 0 && count <= max_count) << in_size << " to " << out_size << " at " << i;
    double sum = 0.0;
    for (int t = 0; t < count; ++t) {
      const double weight = Cubic((t + first - center + 0.5) * inverse_stretch);
      window[static_cast<size_t>(t)] = weight;
      sum += weight;
    }
    result.windows[static_cast<size_t>(i)] = {first, count};
    int32_t* weights = &result.weights[static_cast<size_t>(i) * static_cast<size_t>(result.stride)];
    for (int t = 0; t < count; ++t) {
      const double weight = window[static_cast<size_t>(t)];
      weights[t] = ToFixedPoint(sum != 0.0 ? weight / sum : weight);
    }
  }
  return result;
}

Resampler::Resampler(const Image& image, Size size)
    : image_(image),
      size_(size),
      resize_x_(image.width() != size.width),
      resize_y_(image.height() != size.height) {
  VL2_CHECK(size.width > 0 && size.height > 0) << size;
  if (resize_x_) x_weights_ = MakeBicubicWeights(image.width(), size.width);
  if (!resize_y_) return;
  y_weights_ = MakeBicubicWeights(image.height(), size.height);
  if (!resize_x_) return;
  for (int first = 0; first < size.height; ++first) {
    const int last = std::min(first + kRowsPerStep, size.height) - 1;
    const auto& low = y_weights_.windows[static_cast<size_t>(first)];
    const auto& high = y_weights_.windows[static_cast<size_t>(last)];
    band_rows_ = std::max(band_rows_, high.first + high.count - low.first);
  }
  const size_t row_bytes = static_cast<size_t>(size.width) * Image::kChannels;
  band_stride_ = (row_bytes + AlignedBuffer::kAlignment - 1) / AlignedBuffer::kAlignment *
                 AlignedBuffer::kAlignment;
  band_ = AlignedBuffer(band_stride_ * static_cast<size_t>(band_rows_));
}

void Resampler::HorizontalRows(int first, int count, uint8_t* out, size_t stride_bytes) const {
  ResampleRowsX(image_.row(first), image_.row_bytes(), count, x_weights_, out, stride_bytes);
}

void Resampler::FillBand(int first, int count) {
  VL2_CHECK(count <= band_rows_) << count << " rows of " << band_rows_;
  int kept = 0;
  if (first >= band_first_ && first < band_first_ + band_count_) {
    // Consecutive windows overlap: what is still needed moves to the front.
    kept = std::min(band_first_ + band_count_ - first, count);
    std::memmove(BandRow(0), BandRow(first - band_first_),
                 band_stride_ * static_cast<size_t>(kept));
  }
  HorizontalRows(first + kept, count - kept, BandRow(kept), band_stride_);
  band_first_ = first;
  band_count_ = count;
}

void Resampler::Rows(int first, int count, uint8_t* out, size_t stride_bytes) {
  VL2_CHECK(first >= 0 && count >= 0 && count <= size_.height - first)
      << "rows " << first << "+" << count << " of " << size_;
  const size_t row_bytes = static_cast<size_t>(size_.width) * Image::kChannels;
  if (!resize_y_) {
    if (resize_x_) return HorizontalRows(first, count, out, stride_bytes);
    for (int y = 0; y < count; ++y) {
      std::memcpy(out + stride_bytes * static_cast<size_t>(y), image_.row(first + y), row_bytes);
    }
    return;
  }
  for (int done = 0; done < count; done += kRowsPerStep) {
    const int step = std::min(kRowsPerStep, count - done);
    const auto* windows = &y_weights_.windows[static_cast<size_t>(first + done)];
    const int band_end = windows[step - 1].first + windows[step - 1].count;
    if (resize_x_) FillBand(windows[0].first, band_end - windows[0].first);
    for (int y = 0; y < step; ++y) {
      const auto& window = windows[y];
      const uint8_t* rows =
          resize_x_ ? BandRow(window.first - band_first_) : image_.row(window.first);
      const auto index = static_cast<size_t>(first + done + y);
      ResampleRowY(rows, resize_x_ ? band_stride_ : image_.row_bytes(), window.count,
                   &y_weights_.weights[index * static_cast<size_t>(y_weights_.stride)], row_bytes,
                   out + stride_bytes * static_cast<size_t>(done + y));
    }
  }
}

Image Resize(const Image& image, Size size) {
  Image resized(size);
  Resampler(image, size).Rows(0, size.height, resized.data(), resized.row_bytes());
  return resized;
}

}  // namespace vl2
