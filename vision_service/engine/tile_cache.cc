#include "vision_service/engine/tile_cache.h"

#include "runtime/base/sha256.h"

namespace vl2 {

TileKey MakeTileKey(const Tile& tile) {
  const auto side = static_cast<uint32_t>(tile.side());
  Sha256 sha;
  sha.Update(&side, sizeof(side));
  sha.Update(tile.data(), tile.num_bytes());
  const Sha256Digest digest = sha.Finish();
  return TileKey(digest.begin(), digest.end());
}

TileEmbeddings TileCache::Find(const TileKey& key) {
  const auto it = places_.find(key);
  if (it == places_.end()) return nullptr;
  order_.splice(order_.begin(), order_, it->second);
  return it->second->second;
}

void TileCache::Add(const TileKey& key, TileEmbeddings embeddings) {
  const int64_t needed = NumBytes(embeddings);
  if (needed > max_bytes_ || places_.count(key) > 0) return;
  while (num_bytes_ + needed > max_bytes_) {
    num_bytes_ -= NumBytes(order_.back().second);
    places_.erase(order_.back().first);
    order_.pop_back();
  }
  num_bytes_ += needed;
  order_.emplace_front(key, std::move(embeddings));
  places_[key] = order_.begin();
}

}  // namespace vl2
