#include "vision_service/image/canvas.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"

namespace vl2 {

Canvas::Canvas(const Image& image, const ViewGeometry& view, int tile_size, const Rgb& background)
    : view_(view), tile_size_(tile_size), background_(background), resampler_(image, view.resized) {
  VL2_CHECK(tile_size > 0 && view.canvas.width % tile_size == 0 &&
            view.canvas.height % tile_size == 0)
      << "canvas " << view.canvas << " in tiles of " << tile_size;
  VL2_CHECK(view.offset_x >= 0 && view.offset_y >= 0 &&
            view.offset_x + view.resized.width <= view.canvas.width &&
            view.offset_y + view.resized.height <= view.canvas.height)
      << view.resized << " at " << view.offset_x << ", " << view.offset_y << " on " << view.canvas;
}

std::vector<Tile> Canvas::TileRow(int tile_row) {
  VL2_CHECK(tile_row >= 0 && tile_row < tiles_high()) << tile_row << " of " << tiles_high();
  Image strip(Size{view_.canvas.width, tile_size_});
  const int top = tile_row * tile_size_;  // canvas row of the strip's first
  const int picture_top = std::clamp(view_.offset_y - top, 0, tile_size_);
  const int picture_end =
      std::clamp(view_.offset_y + view_.resized.height - top, picture_top, tile_size_);

  const bool covered =
      view_.resized.width == view_.canvas.width && picture_end - picture_top == tile_size_;
  if (!covered) {
    uint8_t* pixel = strip.data();
    for (uint8_t* const end = pixel + strip.num_bytes(); pixel != end; pixel += 3) {
      std::copy(background_.begin(), background_.end(), pixel);
    }
  }
  if (picture_end > picture_top) {
    resampler_.Rows(top + picture_top - view_.offset_y, picture_end - picture_top,
                    strip.row(picture_top) + 3 * view_.offset_x, strip.row_bytes());
  }

  std::vector<Tile> tiles;
  tiles.reserve(static_cast<size_t>(tiles_wide()));
  for (int column = 0; column < tiles_wide(); ++column) {
    Tile& tile = tiles.emplace_back(tile_size_);
    const size_t left_bytes = static_cast<size_t>(column) * tile.row_bytes();
    for (int y = 0; y < tile_size_; ++y) {
      std::memcpy(tile.row(y), strip.row(y) + left_bytes, tile.row_bytes());
    }
  }
  return tiles;
}

}  // namespace vl2
