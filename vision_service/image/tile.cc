#include "vision_service/image/tile.h"

#include "runtime/base/check.h"

namespace vl2 {

PixelNormalizer::PixelNormalizer(const std::array<float, 3>& mean, const std::array<float, 3>& std,
                                 bool normalize) {
  for (size_t c = 0; c < 3; ++c) {
    VL2_CHECK(!normalize || std[c] != 0.0f) << "std of channel " << c;
    for (size_t byte = 0; byte < 256; ++byte) {
      const float value = static_cast<float>(byte) / 255.0f;
      table_[c][byte] = normalize ? (value - mean[c]) / std[c] : value;
    }
  }
}

void NormalizeTile(const Tile& tile, const PixelNormalizer& normalizer, float* out) {
  const size_t plane = tile.num_bytes() / 3;
  const uint8_t* pixel = tile.data();
  for (size_t i = 0; i < plane; ++i, pixel += 3) {
    out[i] = normalizer(0, pixel[0]);
    out[plane + i] = normalizer(1, pixel[1]);
    out[2 * plane + i] = normalizer(2, pixel[2]);
  }
}

}  // namespace vl2
