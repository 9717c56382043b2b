#include "vision_service/model/tile_assembler.h"

#include <algorithm>

namespace vl2 {

TileAssembler::TileAssembler(int64_t tiles_wide, int64_t tiles_high, int64_t tile_side,
                             std::span<const float> image_newline,
                             std::span<const float> view_seperator)
    : tiles_wide_(tiles_wide),
      tiles_high_(tiles_high),
      side_(tile_side),
      hidden_(static_cast<int64_t>(image_newline.size())),
      embeddings_rows_(NumImageEmbeddings(tiles_wide, tiles_high, tile_side)),
      newline_(image_newline.begin(), image_newline.end()),
      data_(static_cast<size_t>(embeddings_rows_ * hidden_)),
      tiles_in_row_(static_cast<size_t>(tiles_high), 0) {
  VL2_CHECK(tiles_wide >= 1 && tiles_high >= 1 && view_seperator.size() == image_newline.size())
      << tiles_wide << "x" << tiles_high;
  std::copy(view_seperator.begin(), view_seperator.end(),
            data_.begin() + side_ * (side_ + 1) * hidden_);
}

void TileAssembler::CopyLines(ConstHostMatrix tile, int64_t first, int64_t line_stride) {
  for (int64_t line = 0; line < side_; ++line) {
    for (int64_t column = 0; column < side_; ++column) {
      const float* from = tile.row(line * side_ + column);
      std::copy(from, from + hidden_,
                data_.begin() + (first + line * line_stride + column) * hidden_);
    }
  }
}

void TileAssembler::AddNewlines(int64_t first, int64_t num_lines, int64_t line_stride) {
  for (int64_t line = 0; line < num_lines; ++line) {
    std::copy(newline_.begin(), newline_.end(),
              data_.begin() + (first + (line + 1) * line_stride - 1) * hidden_);
  }
}

void TileAssembler::AddTile(int64_t tile, ConstHostMatrix embeddings) {
  VL2_CHECK(tile >= 0 && tile < num_tiles() && embeddings.rows == side_ * side_ &&
            embeddings.cols == hidden_)
      << "tile " << tile << " [" << embeddings.rows << ", " << embeddings.cols << "]";
  const int64_t global_stride = side_ + 1;
  const int64_t local_first = side_ * global_stride + 1;
  const int64_t local_stride = side_ * tiles_wide_ + 1;
  if (tile == 0) {
    VL2_CHECK(!has_global_);
    has_global_ = true;
    CopyLines(embeddings, 0, global_stride);
    AddNewlines(0, side_, global_stride);
  } else {
    const int64_t row = (tile - 1) / tiles_wide_;
    const int64_t column = (tile - 1) % tiles_wide_;
    const int64_t first = local_first + row * side_ * local_stride;
    CopyLines(embeddings, first + column * side_, local_stride);
    if (++tiles_in_row_[static_cast<size_t>(row)] == tiles_wide_) {
      AddNewlines(first, side_, local_stride);
    }
  }
  if (!has_global_) return;
  num_ready_ = local_first;
  for (const int64_t tiles : tiles_in_row_) {
    if (tiles < tiles_wide_) break;
    num_ready_ += side_ * local_stride;
  }
}

}  // namespace vl2
