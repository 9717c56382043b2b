// Canvas: an image fitted inside a view's canvas, pasted on the background, cut into tiles. Works
// from top to bottom, one tile row at a time, so that encoding can begin before the rest is
// resized.
//
// Owns: one Resampler; borrows the image.
// Threading: not thread-safe.
// Errors: none, the plan has been checked.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "vision_service/image/image.h"
#include "vision_service/image/resample.h"
#include "vision_service/image/tile.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

using Rgb = std::array<uint8_t, 3>;
// int(mean · 255) of the published mean 0.5.
inline constexpr Rgb kPublishedBackground = {127, 127, 127};

class Canvas {
 public:
  // REQUIRES: view.canvas is a multiple of tile_size on both sides; view comes from FitView with
  // the image's size; the image outlives this.
  Canvas(const Image& image, const ViewGeometry& view, int tile_size,
         const Rgb& background = kPublishedBackground);

  int tiles_wide() const { return view_.canvas.width / tile_size_; }
  int tiles_high() const { return view_.canvas.height / tile_size_; }

  // The tiles of one tile row, left to right. Cheapest from top to bottom.
  std::vector<Tile> TileRow(int tile_row);

 private:
  const ViewGeometry view_;
  const int tile_size_;
  const Rgb background_;
  Resampler resampler_;
};

}  // namespace vl2
