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

}  // namespace vl2
