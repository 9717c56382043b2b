#include "tools/golden_check/prepared_case.h"

#include "runtime/base/status.h"
#include "text/published_template.h"

namespace vl2 {
namespace {

// Encoded pictures are at most this large in golden folders.
constexpr size_t kMaxImageFileBytes = size_t{64} << 20;

absl::Status AddTiles(TileStream stream, std::vector<Tile>& tiles) {
  for (std::vector<Tile> part = stream.Next(); !part.empty(); part = stream.Next()) {
    for (Tile& tile : part) tiles.push_back(std::move(tile));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PreparedCase> PrepareCase(const std::string& root, const Json& golden_case,
                                         const Tokenizer& tokenizer,
                                         const ImageProcessorConfig& processor) {
  std::vector<PublishedMessage> messages;
  std::vector<std::string> image_paths;
  if (!golden_case.contains("conversation")) return InvalidArgument("case has no conversation");
  for (const Json& message : golden_case["conversation"]) {
    messages.push_back({message.value("role", ""), message.value("content", "")});
    for (const Json& image : message.value("images", Json::array())) {
      image_paths.push_back(root + "/" + image.get<std::string>());
    }
  }
  PreparedCase prepared;
  const ImagePreprocessor preprocessor(processor);
  std::vector<int64_t> num_embeddings;
  // The published processor tiles only when the whole conversation holds one or two images.
  const Tiling tiling = Tiling::Published(image_paths.size() <= 2);
  for (const std::string& path : image_paths) {
    VL2_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxImageFileBytes));
    VL2_ASSIGN_OR_RETURN(TileStream stream,
                         preprocessor.Tiles(bytes, DecodePolicy::Published(), tiling));
    num_embeddings.push_back(stream.plan().num_embeddings);
    prepared.images_spatial_crop.emplace_back(stream.plan().tiles_wide, stream.plan().tiles_high);
    VL2_RETURN_IF_ERROR(AddTiles(std::move(stream), prepared.tiles));
  }
  VL2_ASSIGN_OR_RETURN(
      const Prompt prompt,
      RenderPublishedConversation(tokenizer, messages, static_cast<int>(image_paths.size())));
  VL2_ASSIGN_OR_RETURN(
      prepared.layout,
      LayOut(prompt, num_embeddings, tokenizer.control_ids().image, /*max_tokens=*/1 << 20));
  return prepared;
}

}  // namespace vl2
