#include "vision_service/image/tile_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr int kMaxTileSize = 4096;
constexpr size_t kMaxCandidates = 1024;

// Python's round(): to the nearest integer, ties to even. Independent of the rounding mode.
int64_t RoundHalfToEven(double value) {
  const double floor = std::floor(value);
  const double fraction = value - floor;
  const auto below = static_cast<int64_t>(floor);
  if (fraction < 0.5) return below;
  if (fraction > 0.5) return below + 1;
  return below % 2 == 0 ? below : below + 1;
}

absl::Status CheckImageSize(Size image) {
  if (image.width < 1 || image.height < 1 || image.width > kMaxPlannedSide ||
      image.height > kMaxPlannedSide) {
    return InvalidArgument("image size ", image, ": each side must be 1 to ", kMaxPlannedSide);
  }
  return absl::OkStatus();
}

absl::StatusOr<Size> ChooseCanvas(Size image, const TileGeometry& geometry, const Tiling& tiling) {
  const Size one_tile{geometry.tile_size, geometry.tile_size};
  switch (tiling.mode) {
    case Tiling::Mode::kPublished:
      if (!tiling.cropping) return one_tile;
      return SelectBestResolution(image, geometry.candidate_resolutions);
    case Tiling::Mode::kGlobalOnly:
      return one_tile;
    case Tiling::Mode::kFixed:
      if (tiling.tiles_wide < 1 || tiling.tiles_high < 1 || tiling.tiles_wide > kMaxLocalTiles ||
          tiling.tiles_high > kMaxLocalTiles ||
          tiling.tiles_wide * tiling.tiles_high > kMaxLocalTiles) {
        return InvalidArgument("fixed tiling ", tiling.tiles_wide, " x ", tiling.tiles_high,
                               ": needs 1 to ", kMaxLocalTiles, " tiles");
      }
      return Size{tiling.tiles_wide * geometry.tile_size, tiling.tiles_high * geometry.tile_size};
    case Tiling::Mode::kBudget: {
      std::vector<Size> affordable;
      const int64_t tile_area = one_tile.area();
      for (const Size& candidate : geometry.candidate_resolutions) {
        if (candidate.area() <= tiling.max_tiles * tile_area) affordable.push_back(candidate);
      }
      if (affordable.empty()) {
        return InvalidArgument("tile budget ", tiling.max_tiles,
                               ": no candidate resolution has so few tiles");
      }
      return SelectBestResolution(image, affordable);
    }
  }
  return InvalidArgument("tiling mode ", static_cast<int>(tiling.mode), " is not known");
}

}  // namespace

absl::Status TileGeometry::Validate() const {
  if (tile_size < 1 || tile_size > kMaxTileSize) {
    return InvalidArgument("tile size ", tile_size, ": must be 1 to ", kMaxTileSize, " pixels");
  }
  if (patch_size < 1 || patch_size > tile_size) {
    return InvalidArgument("patch_size ", patch_size, ": must be 1 to the tile size ", tile_size);
  }
  if (downsample_ratio < 1 || downsample_ratio > tile_size) {
    return InvalidArgument("downsample_ratio ", downsample_ratio, ": must be 1 to the tile size ",
                           tile_size);
  }
  if (candidate_resolutions.empty() || candidate_resolutions.size() > kMaxCandidates) {
    return InvalidArgument("candidate_resolutions: ", candidate_resolutions.size(),
                           " entries, must be 1 to ", kMaxCandidates);
  }
  for (const Size& candidate : candidate_resolutions) {
    if (candidate.width < tile_size || candidate.height < tile_size ||
        candidate.width % tile_size != 0 || candidate.height % tile_size != 0) {
      return InvalidArgument("candidate resolution ", candidate,
                             ": sides must be multiples of the tile size ", tile_size);
    }
    const int64_t wide = candidate.width / tile_size;
    const int64_t high = candidate.height / tile_size;
    if (wide * high > kMaxLocalTiles) {
      return InvalidArgument("candidate resolution ", candidate, ": ", wide * high,
                             " tiles, the limit is ", kMaxLocalTiles);
    }
  }
  return absl::OkStatus();
}

Size SelectBestResolution(Size image, const std::vector<Size>& candidates) {
  VL2_CHECK(CheckImageSize(image).ok() && !candidates.empty())
      << image << ", " << candidates.size() << " candidates";
  Size best;
  int64_t best_effective = 0;
  int64_t least_waste = std::numeric_limits<int64_t>::max();
  for (const Size& candidate : candidates) {
    // Double expressions exactly as published: another order truncates another way.
    const double scale = std::min(static_cast<double>(candidate.width) / image.width,
                                  static_cast<double>(candidate.height) / image.height);
    const auto scaled_width = static_cast<int64_t>(image.width * scale);
    const auto scaled_height = static_cast<int64_t>(image.height * scale);
    // Enlarging adds no information, so it counts no more than the image itself.
    const int64_t effective = std::min(scaled_width * scaled_height, image.area());
    const int64_t waste = candidate.area() - effective;
    if (effective > best_effective || (effective == best_effective && waste < least_waste)) {
      best_effective = effective;
      least_waste = waste;
      best = candidate;
    }
  }
  return best;
}

absl::StatusOr<ViewGeometry> FitView(Size image, Size canvas) {
  VL2_RETURN_IF_ERROR(CheckImageSize(image));
  VL2_CHECK(canvas.width > 0 && canvas.height > 0) << "canvas " << canvas;
  const double width = image.width;
  const double height = image.height;
  const double image_ratio = width / height;
  const double canvas_ratio = static_cast<double>(canvas.width) / canvas.height;

  ViewGeometry view{canvas, canvas, 0, 0};
  if (image_ratio > canvas_ratio) {
    view.resized.height = static_cast<int>(RoundHalfToEven(height / width * canvas.width));
  } else if (image_ratio < canvas_ratio) {
    view.resized.width = static_cast<int>(RoundHalfToEven(width / height * canvas.height));
  }
  if (view.resized.width < 1 || view.resized.height < 1) {
    return InvalidArgument("image size ", image, " is too narrow: fitted to ", canvas,
                           " it would be ", view.resized, " pixels");
  }
  view.offset_x = static_cast<int>(RoundHalfToEven((canvas.width - view.resized.width) * 0.5));
  view.offset_y = static_cast<int>(RoundHalfToEven((canvas.height - view.resized.height) * 0.5));
  return view;
}

int64_t NumEmbeddings(const TileGeometry& geometry, int tiles_wide, int tiles_high) {
  const int64_t side = geometry.embeddings_per_side();
  return side * (side + 1) + 1 + (side * tiles_high) * (side * tiles_wide + 1);
}

absl::StatusOr<TilePlan> PlanTiles(Size image, const TileGeometry& geometry, const Tiling& tiling) {
  VL2_RETURN_IF_ERROR(CheckImageSize(image));
  TilePlan plan;
  plan.image = image;
  plan.tile_size = geometry.tile_size;
  VL2_ASSIGN_OR_RETURN(const Size canvas, ChooseCanvas(image, geometry, tiling));
  VL2_ASSIGN_OR_RETURN(plan.global, FitView(image, {geometry.tile_size, geometry.tile_size}));
  VL2_ASSIGN_OR_RETURN(plan.local, FitView(image, canvas));
  plan.tiles_wide = canvas.width / geometry.tile_size;
  plan.tiles_high = canvas.height / geometry.tile_size;
  plan.num_tiles = 1 + plan.tiles_wide * plan.tiles_high;
  plan.num_embeddings = NumEmbeddings(geometry, plan.tiles_wide, plan.tiles_high);
  return plan;
}

}  // namespace vl2
