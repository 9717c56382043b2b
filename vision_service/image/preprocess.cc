#include "vision_service/image/preprocess.h"

#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {

TileStream::TileStream(Image image, const TilePlan& plan, const Rgb& background)
    : plan_(plan), image_(std::make_unique<Image>(std::move(image))) {
  VL2_CHECK(image_->size() == plan.image) << image_->size() << ", planned for " << plan.image;
  global_ = std::make_unique<Canvas>(*image_, plan.global, plan.tile_size, background);
  local_ = std::make_unique<Canvas>(*image_, plan.local, plan.tile_size, background);
}

std::vector<Tile> TileStream::Next() {
  if (global_ != nullptr) {
    std::vector<Tile> tiles = global_->TileRow(0);
    global_.reset();
    return tiles;
  }
  if (local_ == nullptr) return {};
  std::vector<Tile> tiles = local_->TileRow(next_row_++);
  if (next_row_ == plan_.tiles_high) {
    local_.reset();
    image_.reset();
  }
  return tiles;
}

absl::StatusOr<TilePlan> ImagePreprocessor::Plan(std::string_view bytes, const DecodePolicy& policy,
                                                 const Tiling& tiling) const {
  VL2_ASSIGN_OR_RETURN(const ImageInfo info, decoder_.ReadHeader(bytes, policy));
  return PlanTiles(info.size, config_.geometry, tiling);
}

absl::StatusOr<TileStream> ImagePreprocessor::Tiles(std::string_view bytes,
                                                    const DecodePolicy& policy,
                                                    const Tiling& tiling,
                                                    DecodeMeter& meter) const {
  // A tiling that cannot be is refused before the pixels are decoded.
  VL2_RETURN_IF_ERROR(Plan(bytes, policy, tiling));
  VL2_ASSIGN_OR_RETURN(Image image, decoder_.Decode(bytes, policy, meter));
  return Tiles(std::move(image), tiling);
}

absl::StatusOr<TileStream> ImagePreprocessor::Tiles(std::string_view bytes,
                                                    const DecodePolicy& policy,
                                                    const Tiling& tiling) const {
  DecodeMeter unlimited;
  return Tiles(bytes, policy, tiling, unlimited);
}

absl::StatusOr<TileStream> ImagePreprocessor::Tiles(Image image, const Tiling& tiling) const {
  VL2_ASSIGN_OR_RETURN(const TilePlan plan, PlanTiles(image.size(), config_.geometry, tiling));
  return TileStream(std::move(image), plan, config_.background());
}

}  // namespace vl2
