// ExtractPatches: the patches of tiles as rows of normalised values, ready for the product that
// stands for the tower's first convolution (its stride is its size).
//
// Column c·patch² + dy·patch + dx, the order of a flattened convolution weight. Pixels beyond the
// last whole patch are left out. Source: PatchEmbed in siglip_vit.py; ImageTransform in
// processing_deepseek_vl_v2.py for the values.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "runtime/tensor/matrix.h"

namespace vl2 {

// The value of each byte of a channel.
using PixelTable = std::array<std::array<float, 256>, 3>;

// Checked: out is [tiles · grid², 3 · patch²] with grid = image_size / patch_size.
struct ExtractPatchesArgs {
  // Each [image_size][image_size][3] bytes of the host: red, green, blue.
  std::span<const uint8_t* const> tiles;
  int64_t image_size = 0;
  int64_t patch_size = 0;
  const PixelTable* table = nullptr;
  Matrix out;
};

}  // namespace vl2
