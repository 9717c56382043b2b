#include "runtime/weight_format/superblock.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace vl2 {

float QuantizeGroup(WeightFormat format, const float* x, int64_t count,
                    std::span<int32_t, kSuperblockK> codes) {
  std::fill(codes.begin(), codes.end(), 0);
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) return std::numeric_limits<float>::quiet_NaN();
    largest = std::max(largest, std::abs(x[i]));
  }
  if (largest < 1e-30f) return 0;
  const auto limit = static_cast<float>(LargestCode(format));
  const float inverse = limit / largest;
  for (int64_t i = 0; i < count; ++i) {
    codes[static_cast<size_t>(i)] = static_cast<int32_t>(std::nearbyint(x[i] * inverse));
  }
  return largest / limit;
}

void ReadPanelLane(WeightFormat format, const std::byte* panel, int64_t in, int64_t lane,
                   int32_t* integers, float* scales) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(panel);
  for (int64_t block = 0; block < NumSuperblocks(in); ++block, integers += kSuperblockK) {
    const uint8_t* superblock = bytes + PanelHeadBytes(format) + block * SuperblockBytes(format);
    const uint8_t* scale = format == WeightFormat::kW4A8 ? bytes : superblock;
    std::memcpy(scales + block, scale + lane * 4, 4);
    const uint8_t* codes = superblock + 64;
    for (int64_t k = 0; k < kSuperblockK; ++k) {
      if (format == WeightFormat::kW4A8) {
        const int32_t head = superblock[k / kLowBitBlockK * kSuperblockLanes + lane];
        const int32_t pair = codes[k / 8 * 64 + lane * 4 + k % 4];
        const int32_t code = k % 8 < 4 ? pair & 15 : pair >> 4;
        integers[k] = (code - ((head & 7) + 4)) * (head >> 3);
      } else {
        const int32_t zero = format == WeightFormat::kW7A8 ? 64 : 128;
        integers[k] = codes[k / 4 * 64 + lane * 4 + k % 4] - zero;
      }
    }
  }
}

}  // namespace vl2
