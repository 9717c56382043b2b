// Image: decoded pixels, 8 bits a channel, red green blue interleaved, rows from top to bottom with
// no gap between them.
//
// Owns: its bytes, plus kPaddingBytes behind the last pixel that may be read but mean nothing, so
//   that vector code may load past a row's end. Move-only.
// Threading: as a plain value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/check.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

class Image {
 public:
  static constexpr int kChannels = 3;
  static constexpr size_t kPaddingBytes = 64;

  Image() = default;
  // Pixels are not initialised. REQUIRES: sides 1..kMaxPlannedSide.
  explicit Image(Size size) : size_(size), pixels_(RowBytes(size) * Rows(size) + kPaddingBytes) {
    VL2_CHECK(size.width > 0 && size.height > 0 && size.width <= kMaxPlannedSide &&
              size.height <= kMaxPlannedSide)
        << size;
  }

  Size size() const { return size_; }
  int width() const { return size_.width; }
  int height() const { return size_.height; }
  size_t row_bytes() const { return RowBytes(size_); }
  size_t num_bytes() const { return RowBytes(size_) * Rows(size_); }
  uint8_t* row(int y) { return data() + row_bytes() * static_cast<size_t>(y); }
  const uint8_t* row(int y) const { return data() + row_bytes() * static_cast<size_t>(y); }
  uint8_t* data() { return reinterpret_cast<uint8_t*>(pixels_.data()); }
  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(pixels_.data()); }

 private:
  static size_t RowBytes(Size size) { return static_cast<size_t>(size.width) * kChannels; }
  static size_t Rows(Size size) { return static_cast<size_t>(size.height); }

  Size size_;
  AlignedBuffer pixels_;
};

}  // namespace vl2
