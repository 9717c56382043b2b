// TileAssembler: puts an image's tile embeddings into prompt order and says which part is ready.
//
// Prompt order (prepare_inputs_embeds in modeling_deepseek_vl_v2.py): each line of the global view
// followed by the newline vector; the separator; the local tiles joined into one picture, each of
// its lines followed by the newline vector. Tiles may arrive in any order: tile 0 is the global
// view, tile 1 + row·tiles_wide + column a local one. The part that is ready always begins at
// embedding 0 and grows by the global view with its separator, then by whole tile rows.
//
// Owns: the assembled embeddings. Threading: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/tensor/matrix.h"

namespace vl2 {

class TileAssembler {
 public:
  // `tile_side`: embeddings along a tile's side (14). The vectors have `hidden` values and are
  // copied from while tiles are added.
  TileAssembler(int64_t tiles_wide, int64_t tiles_high, int64_t tile_side,
                std::span<const float> image_newline, std::span<const float> view_seperator);

  int64_t num_tiles() const { return 1 + tiles_wide_ * tiles_high_; }
  // tile_side·(tile_side+1) + 1 + (tile_side·tiles_high)·(tile_side·tiles_wide + 1)
  int64_t num_embeddings() const { return embeddings_rows_; }

  // REQUIRES: 0 <= tile < num_tiles(), added once; embeddings is [tile_side², hidden].
  void AddTile(int64_t tile, ConstHostMatrix embeddings);

  // Embeddings [0, num_ready()) are final.
  int64_t num_ready() const { return num_ready_; }
  bool complete() const { return num_ready_ == num_embeddings(); }
  ConstHostMatrix embeddings() const { return {data_.data(), embeddings_rows_, hidden_}; }

 private:
  // Copies a tile's lines to embedding `first` on, `line_stride` embeddings apart.
  void CopyLines(ConstHostMatrix tile, int64_t first, int64_t line_stride);
  void AddNewlines(int64_t first, int64_t num_lines, int64_t line_stride);

  const int64_t tiles_wide_;
  const int64_t tiles_high_;
  const int64_t side_;
  const int64_t hidden_;
  const int64_t embeddings_rows_;
  std::vector<float> newline_;
  std::vector<float> data_;
  bool has_global_ = false;
  std::vector<int64_t> tiles_in_row_;  // tiles that arrived, per tile row
  int64_t num_ready_ = 0;
};

// The number of embeddings of an image; also what the prompt reserves for it.
constexpr int64_t NumImageEmbeddings(int64_t tiles_wide, int64_t tiles_high, int64_t tile_side) {
  return tile_side * (tile_side + 1) + 1 + tile_side * tiles_high * (tile_side * tiles_wide + 1);
}

}  // namespace vl2
