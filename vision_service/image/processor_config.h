// The part of a checkpoint's processor_config.json that concerns pixels.
#pragma once

#include <array>

#include "absl/status/statusor.h"
#include "runtime/base/json.h"
#include "vision_service/image/canvas.h"
#include "vision_service/image/tile.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

struct ImageProcessorConfig {
  TileGeometry geometry;  // tile_size is the width of the first candidate resolution, as published
  std::array<float, 3> image_mean = {0.5f, 0.5f, 0.5f};
  std::array<float, 3> image_std = {0.5f, 0.5f, 0.5f};
  bool normalize = true;

  // int(mean · 255) per channel: what surrounds a fitted picture.
  Rgb background() const;
  PixelNormalizer normalizer() const { return {image_mean, image_std, normalize}; }
};

// Reads candidate_resolutions (required), patch_size, downsample_ratio, image_mean, image_std and
// normalize; what is left out takes the published value. INVALID_ARGUMENT naming the key.
absl::StatusOr<ImageProcessorConfig> ParseImageProcessorConfig(const Json& processor_config);

}  // namespace vl2
