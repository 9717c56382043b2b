// Tile: one square cut of the canvas, what the vision tower sees. NormalizeTile makes its input.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "runtime/base/aligned_buffer.h"

namespace vl2 {

// Move-only value. Owns side·side·3 bytes: red green blue interleaved, row-major.
class Tile {
 public:
  Tile() = default;
  // Pixels are not initialised. `side` in pixels, > 0.
  explicit Tile(int side)
      : side_(side), pixels_(static_cast<size_t>(side) * static_cast<size_t>(side) * 3) {}

  int side() const { return side_; }
  size_t row_bytes() const { return static_cast<size_t>(side_) * 3; }
  size_t num_bytes() const { return pixels_.size(); }
  uint8_t* data() { return reinterpret_cast<uint8_t*>(pixels_.data()); }
  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(pixels_.data()); }
  uint8_t* row(int y) { return data() + row_bytes() * static_cast<size_t>(y); }
  const uint8_t* row(int y) const { return data() + row_bytes() * static_cast<size_t>(y); }

 private:
  int side_ = 0;
  AlignedBuffer pixels_;
};

// value = (byte / 255 − mean) / std per channel, each step rounded to float32, as torchvision does.
// With normalize off: byte / 255. A byte has 256 values, so a table holds them all.
class PixelNormalizer {
 public:
  // REQUIRES: std != 0.
  PixelNormalizer(const std::array<float, 3>& mean, const std::array<float, 3>& std,
                  bool normalize);

  float operator()(int channel, uint8_t byte) const {
    return table_[static_cast<size_t>(channel)][byte];
  }
  // [channel][byte]
  const std::array<std::array<float, 256>, 3>& table() const { return table_; }

 private:
  std::array<std::array<float, 256>, 3> table_;
};

// Writes the tile to `out` f32 [3, side, side]: channel, row, column.
void NormalizeTile(const Tile& tile, const PixelNormalizer& normalizer, float* out);

}  // namespace vl2
