// TileCache: embeddings of single tiles by what the tile shows, least recently used ones dropped
// first. Tiles are encoded one by one and the encoder gives equal tiles equal embeddings, to the
// bit, alone or in a batch: what another image has encoded already need not be encoded again. Of a
// screenshot that changed in one corner, of a page's blank parts, of the same image under another
// tile budget only what is new costs something.
//
// A cache belongs to one encoder: model, weights and preprocessing are the same for all that is in
// it, so that pixels are the whole key.
//
// Owns: the embeddings, together with those who still read what was dropped.
// Threading: one thread at a time. Limits: max_bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vision_service/engine/byte_lru.h"
#include "vision_service/image/tile.h"

namespace vl2 {

// SHA-256 of a tile's side and pixels, 32 bytes.
using TileKey = std::string;

TileKey MakeTileKey(const Tile& tile);

// [embeddings_per_tile, hidden]
using TileEmbeddings = std::shared_ptr<const std::vector<float>>;

class TileCache {
 public:
  explicit TileCache(int64_t max_bytes) : tiles_(max_bytes) {}

  bool enabled() const { return tiles_.max_bytes() > 0; }
  // The embeddings, now the most recently used; nullptr when they are not here.
  TileEmbeddings Find(const TileKey& key) { return tiles_.Find(key); }
  // One that is here already, or larger than the cache, changes nothing.
  void Add(const TileKey& key, const TileEmbeddings& embeddings) {
    tiles_.Add(key, embeddings, static_cast<int64_t>(embeddings->size() * sizeof(float)));
  }
  // Of embeddings; keys and lists come on top, less than a thousandth of them.
  int64_t num_bytes() const { return tiles_.num_bytes(); }

 private:
  ByteLru<TileEmbeddings> tiles_;
};

}  // namespace vl2
