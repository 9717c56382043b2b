// TilePlan: how one image becomes tiles, and how many embeddings it will have. Pure arithmetic on
// sizes; no pixels. Follows the published processor (select_best_resolution, and Pillow's
// ImageOps.pad for the geometry of a view), operation by operation: all ratios are doubles, scaled
// sides are truncated when a resolution is chosen and rounded half to even when a view is fitted.
//
// Threading: free functions, thread-safe.
// Errors: INVALID_ARGUMENT naming the sizes.
// Limits: image sides 1..kMaxPlannedSide, tiles per image 1..kMaxLocalTiles.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vl2 {

// Width and height in pixels (or in tiles, where said so).
struct Size {
  int width = 0;
  int height = 0;

  int64_t area() const { return int64_t{width} * height; }
  friend bool operator==(const Size&, const Size&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Size& size) {
    return out << size.width << " x " << size.height;
  }
};

inline constexpr int kMaxPlannedSide = 1 << 20;
// Tiles of one image, the global view not counted. The published candidates go up to 9.
inline constexpr int kMaxLocalTiles = 64;

// What the model fixes about tiles. Defaults are those of the published models.
struct TileGeometry {
  int tile_size = 384;       // side of a tile in pixels
  int patch_size = 14;       // side of a patch in pixels
  int downsample_ratio = 2;  // patches joined per side by the projector
  // Canvas sizes in pixels an image may be fitted to, multiples of tile_size; order breaks ties.
  std::vector<Size> candidate_resolutions;

  // Embeddings along one side of a tile: ceil((tile_size / patch_size) / downsample_ratio).
  int embeddings_per_side() const {
    return (tile_size / patch_size + downsample_ratio - 1) / downsample_ratio;
  }
  // INVALID_ARGUMENT when a value is out of range or a candidate is no multiple of tile_size.
  absl::Status Validate() const;
};

// Which canvas the tiles of an image come from.
struct Tiling {
  enum class Mode {
    kPublished,   // the best of all candidates, or one tile when cropping is off
    kGlobalOnly,  // one tile: same pixels as the global view
    kFixed,       // tiles_wide x tiles_high, whatever the image's shape
    kBudget,      // the best of the candidates with at most max_tiles tiles
  };
  Mode mode = Mode::kPublished;
  bool cropping = true;  // kPublished: the conversation holds at most two images
  int tiles_wide = 0;    // kFixed
  int tiles_high = 0;    // kFixed
  int max_tiles = 0;     // kBudget; the global view is not counted

  static Tiling Published(bool cropping) { return {Mode::kPublished, cropping, 0, 0, 0}; }
  static Tiling GlobalOnly() { return {Mode::kGlobalOnly, false, 0, 0, 0}; }
  static Tiling Fixed(int tiles_wide, int tiles_high) {
    return {Mode::kFixed, false, tiles_wide, tiles_high, 0};
  }
  static Tiling Budget(int max_tiles) { return {Mode::kBudget, false, 0, 0, max_tiles}; }
  friend bool operator==(const Tiling&, const Tiling&) = default;
};

// An image fitted inside a canvas: resized to `resized`, its left upper corner at the offset.
// At least one side fills the canvas.
struct ViewGeometry {
  Size canvas;
  Size resized;
  int offset_x = 0;
  int offset_y = 0;
  friend bool operator==(const ViewGeometry&, const ViewGeometry&) = default;
};

struct TilePlan {
  Size image;
  int tile_size = 0;
  ViewGeometry global;  // one tile
  ViewGeometry local;   // tiles_wide x tiles_high tiles; its canvas is the best resolution
  int tiles_wide = 0;
  int tiles_high = 0;
  int num_tiles = 0;           // 1 + tiles_wide * tiles_high
  int64_t num_embeddings = 0;  // all of them: newlines and the separator included
};

// The candidate in which the image keeps most of its pixels, then the one that wastes least, then
// the first. REQUIRES: a valid image size and at least one candidate.
Size SelectBestResolution(Size image, const std::vector<Size>& candidates);

// Fits `image` inside `canvas`, keeping the aspect, centred. INVALID_ARGUMENT when a side would
// round to 0 pixels.
absl::StatusOr<ViewGeometry> FitView(Size image, Size canvas);

// n·(n+1) + 1 + (n·tiles_high)·(n·tiles_wide + 1), where n = embeddings_per_side().
int64_t NumEmbeddings(const TileGeometry& geometry, int tiles_wide, int tiles_high);

// The whole plan. REQUIRES: geometry.Validate().ok().
absl::StatusOr<TilePlan> PlanTiles(Size image, const TileGeometry& geometry, const Tiling& tiling);

}  // namespace vl2
