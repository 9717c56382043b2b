#include "tools/pictures/encode_picture.h"

#include <chrono>
#include <utility>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using Clock = std::chrono::steady_clock;

// Since `begin`, which becomes now.
double TakeMilliseconds(Clock::time_point& begin) {
  const Clock::time_point now = Clock::now();
  return std::chrono::duration<double, std::milli>(now - std::exchange(begin, now)).count();
}

}  // namespace

absl::StatusOr<EncodedPicture> EncodePicture(const ImageProcessorConfig& processor,
                                             VisionEncoder& vision, const std::string& path,
                                             bool cropping, Tap* tap) {
  const ImagePreprocessor preprocessor(processor);
  VL2_ASSIGN_OR_RETURN(const std::string bytes,
                       ReadFile(path, preprocessor.decoder().limits().max_bytes));
  EncodedPicture encoded;
  auto begin = Clock::now();
  auto image = preprocessor.decoder().Decode(bytes, DecodePolicy::Serving());
  if (!image.ok()) return Annotate(image.status(), path);
  encoded.decode_ms = TakeMilliseconds(begin);
  encoded.size = image->size();

  VL2_ASSIGN_OR_RETURN(TileStream stream,
                       preprocessor.Tiles(*std::move(image), Tiling::Published(cropping)));
  encoded.plan = stream.plan();
  std::vector<Tile> tiles;
  for (std::vector<Tile> part = stream.Next(); !part.empty(); part = stream.Next()) {
    for (Tile& tile : part) tiles.push_back(std::move(tile));
  }
  encoded.tiling_ms = TakeMilliseconds(begin);

  encoded.assembler = std::make_unique<TileAssembler>(
      encoded.plan.tiles_wide, encoded.plan.tiles_high, vision.config().tile_side(),
      vision.image_newline(), vision.view_seperator());
  const PixelNormalizer normalizer = processor.normalizer();
  GrowingMatrix memory(vision.ops().device());
  GrowingHostMatrix host_memory;
  const Matrix out = memory.Resize(vision.embeddings_per_tile(), vision.hidden());
  for (size_t i = 0; i < tiles.size(); ++i) {
    const uint8_t* const tile = tiles[i].data();
    vision.Encode(std::span(&tile, 1), normalizer.table(), out, i == 0 ? tap : nullptr);
    encoded.assembler->AddTile(static_cast<int64_t>(i), ToHost(ConstMatrix(out), host_memory));
  }
  encoded.encode_ms = TakeMilliseconds(begin);
  return encoded;
}

}  // namespace vl2
