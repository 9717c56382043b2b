// ImagePreprocessor: image bytes to tiles, in the order in which the prompt holds their embeddings.
//
// Immutable and thread-safe; a TileStream is used by one thread at a time.
// Errors: INVALID_ARGUMENT for bad bytes, a broken limit or an impossible tiling (image_decoder.h,
// tile_plan.h).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "vision_service/image/canvas.h"
#include "vision_service/image/image_decoder.h"
#include "vision_service/image/processor_config.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

// The tiles of one image: the global view first, then the tile rows from top to bottom. Only the
// part asked for is resized, so encoding starts after the global view.
// Owns: the decoded image, until the last part has been taken.
class TileStream {
 public:
  // REQUIRES: plan was made for image.size().
  TileStream(Image image, const TilePlan& plan, const Rgb& background);

  const TilePlan& plan() const { return plan_; }

  // The next part: first one tile (the global view), then tiles_wide tiles per call; empty when all
  // plan().num_tiles tiles have been given.
  std::vector<Tile> Next();

 private:
  TilePlan plan_;
  std::unique_ptr<Image> image_;  // on the heap: the canvases point to it
  std::unique_ptr<Canvas> global_;
  std::unique_ptr<Canvas> local_;
  int next_row_ = 0;  // of the local view
};

class ImagePreprocessor {
 public:
  // REQUIRES: config.geometry and limits are valid.
  ImagePreprocessor(const ImageProcessorConfig& config, const ImageLimits& limits = {})
      : config_(config), decoder_(limits) {}

  const ImageProcessorConfig& config() const { return config_; }
  const ImageDecoder& decoder() const { return decoder_; }

  // The layout, from the header alone.
  absl::StatusOr<TilePlan> Plan(std::string_view bytes, const DecodePolicy& policy,
                                const Tiling& tiling) const;

  // Decodes; the plan is the one that Plan gives for the same arguments.
  absl::StatusOr<TileStream> Tiles(std::string_view bytes, const DecodePolicy& policy,
                                   const Tiling& tiling, DecodeMeter& meter) const;
  // Without a limit on the work.
  absl::StatusOr<TileStream> Tiles(std::string_view bytes, const DecodePolicy& policy,
                                   const Tiling& tiling) const;

  // For pixels that are decoded already.
  absl::StatusOr<TileStream> Tiles(Image image, const Tiling& tiling) const;

 private:
  ImageProcessorConfig config_;
  ImageDecoder decoder_;
};

}  // namespace vl2
