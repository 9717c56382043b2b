// PreparedCase: a golden conversation taken through tokenizer, template and image processing.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/json.h"
#include "text/prompt.h"
#include "text/tokenizer.h"
#include "vision_service/image/preprocess.h"
#include "vision_service/image/tile.h"

namespace vl2 {

struct PreparedCase {
  PromptLayout layout;
  std::vector<std::pair<int, int>> images_spatial_crop;  // [tiles wide, tiles high] of each image
  std::vector<Tile> tiles;  // of all images: global view, then row by row
};

// `root` is the golden folder that image names are relative to.
absl::StatusOr<PreparedCase> PrepareCase(const std::string& root, const Json& golden_case,
                                         const Tokenizer& tokenizer,
                                         const ImageProcessorConfig& processor);

}  // namespace vl2
