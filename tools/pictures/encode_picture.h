// EncodePicture: a file to embeddings in one thread, for tools.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "vision_service/image/preprocess.h"
#include "vision_service/model/tile_assembler.h"
#include "vision_service/model/vision_encoder.h"

namespace vl2 {

struct EncodedPicture {
  Size size;
  TilePlan plan;
  std::unique_ptr<TileAssembler> assembler;  // complete
  double decode_ms = 0, tiling_ms = 0, encode_ms = 0;
};

// `cropping`: with local tiles, as for one and two pictures. `tap` sees the global view's encoding.
// Errors name the file.
absl::StatusOr<EncodedPicture> EncodePicture(const ImageProcessorConfig& processor,
                                             VisionEncoder& vision, const std::string& path,
                                             bool cropping, Tap* tap = nullptr);

}  // namespace vl2
