// Any bytes: the decoder answers with a picture or with an error, the same picture as its header
// said.
//   build with clang: cmake -DVL2_FUZZ=ON -DVL2_SANITIZER=address; run: image_decoder_fuzz CORPUS
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "vision_service/image/image_decoder.h"
#include "vision_service/image/preprocess.h"

namespace {

vl2::ImageProcessorConfig Config() {
  vl2::ImageProcessorConfig config;
  config.geometry = {.tile_size = 32,
                     .patch_size = 14,
                     .downsample_ratio = 2,
                     .candidate_resolutions = {{32, 32}, {64, 32}, {32, 64}, {64, 64}}};
  return config;
}

void Try(const vl2::ImagePreprocessor& preprocessor, std::string_view bytes,
         const vl2::DecodePolicy& policy) {
  const auto info = preprocessor.decoder().ReadHeader(bytes, policy);
  const auto image = preprocessor.decoder().Decode(bytes, policy);
  if (!info.ok()) {
    VL2_CHECK(!image.ok() && !info.status().message().empty()) << info.status();
    return;
  }
  if (!image.ok()) return;
  VL2_CHECK(image->size() == info->size) << image->size() << ", header " << info->size;
  auto stream = preprocessor.Tiles(bytes, policy, vl2::Tiling::Published(true));
  if (!stream.ok()) return;
  int num_tiles = 0;
  for (auto part = stream->Next(); !part.empty(); part = stream->Next()) {
    num_tiles += static_cast<int>(part.size());
  }
  VL2_CHECK(num_tiles == stream->plan().num_tiles) << num_tiles;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Small limits: what is sought is mistakes, not large pictures.
  static const vl2::ImagePreprocessor preprocessor(
      Config(), vl2::ImageLimits{.max_bytes = 1 << 20, .max_pixels = 1 << 18, .max_frames = 20});
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Try(preprocessor, bytes, vl2::DecodePolicy::Serving());
  Try(preprocessor, bytes, vl2::DecodePolicy::Published());
  return 0;
}
