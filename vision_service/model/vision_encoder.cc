#include "vision_service/model/vision_encoder.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr double kLayerNormEps = 1e-6;  // siglip_vit.py: partial(nn.LayerNorm, eps=1e-6)

}  // namespace

std::unique_ptr<VisionEncoder> VisionEncoder::Load(const Checkpoint& checkpoint, Ops& ops,
                                                   const LoadProgress& progress,
                                                   WeightPolicy policy) {
  WeightLoader loader(checkpoint, ops, progress, policy);
  std::unique_ptr<VisionEncoder> encoder(new VisionEncoder(checkpoint.config(), ops));
  encoder->patch_embed_ = loader.PatchLinear("vision.patch_embed.proj");
  const VisionConfig& vision = checkpoint.config().vision_config;
  encoder->pos_embed_ =
      loader.Vector("vision.pos_embed", Shape({vision.num_patches(), vision.width}));
  for (int64_t i = 0; i < checkpoint.config().vision_config.layers; ++i) {
    const std::string name = Cat("vision.blocks.", i);
    encoder->blocks_.push_back({.norm1 = loader.LayerNorm(name + ".norm1", kLayerNormEps),
                                .qkv = loader.Linear(name + ".attn.qkv", true),
                                .proj = loader.Linear(name + ".attn.proj", true),
                                .norm2 = loader.LayerNorm(name + ".norm2", kLayerNormEps),
                                .fc1 = loader.Linear(name + ".mlp.fc1", true),
                                .fc2 = loader.Linear(name + ".mlp.fc2", true)});
  }
  encoder->norm_ = loader.LayerNorm("vision.norm", kLayerNormEps);
  for (int64_t i = 0; i < checkpoint.config().projector_config.depth; ++i) {
    encoder->projector_.push_back(loader.Linear(Cat("projector.layers.", 2 * i), true));
  }
  encoder->image_newline_ = loader.Floats("image_newline");
  encoder->view_seperator_ = loader.Floats("view_seperator");
  return encoder;
}

void VisionEncoder::Encode(std::span<const uint8_t* const> tiles, const PixelTable& table,
                           Matrix out, Tap* tap) {
  const auto num_tiles = static_cast<int64_t>(tiles.size());
  if (num_tiles == 0) return;
  const VisionConfig& vision = config_.vision_config;
  const Matrix x = x_.Resize(num_tiles * vision.num_patches(), vision.width);
  RunTower(tiles, table, x, tap);
  RunProjector(num_tiles, x, out);
  Show(tap, "projector.output", out);
}

void VisionEncoder::RunTower(std::span<const uint8_t* const> tiles, const PixelTable& table,
                             Matrix x, Tap* tap) {
  const VisionConfig& vision = config_.vision_config;
  const auto num_tiles = static_cast<int64_t>(tiles.size());
  const Matrix patches = wide_.Resize(x.rows, 3 * vision.patch_size * vision.patch_size);
  ops_.ExtractPatches({.tiles = tiles,
                       .image_size = vision.image_size,
                       .patch_size = vision.patch_size,
                       .table = &table,
                       .out = patches});
  if (tap != nullptr) {
    patch_embed_.Forward(ops_, patches, x);  // [tiles·patches, width], positions not yet added
    Show(tap, "vision.patch_embed", x);
  }
  patch_embed_.Forward(ops_, patches, x, Activation::kNone, pos_embed_.matrix());
  for (size_t i = 0; i < blocks_.size(); ++i) {
    RunBlock(blocks_[i], num_tiles, x);
    Show(tap, Cat("vision.block", i), x);
  }
  norm_.Forward(ops_, x, x);
  Show(tap, "vision.output", x);
}

void VisionEncoder::RunBlock(const Block& block, int64_t num_tiles, Matrix x) {
  const VisionConfig& vision = config_.vision_config;
  const Matrix normed = normed_.Resize(x.rows, vision.width);
  const Matrix attended = attended_.Resize(x.rows, vision.width);

  block.norm1.Forward(ops_, x, normed);  // [rows, width]
  const Matrix qkv = wide_.Resize(x.rows, 3 * vision.width);
  block.qkv.Forward(ops_, normed, qkv);  // [rows, 3·width]
  ops_.FullAttention({.qkv = qkv,
                      .num_tiles = num_tiles,
                      .tokens_per_tile = vision.num_patches(),
                      .num_heads = vision.heads,
                      .head_dim = vision.head_dim(),
                      .scale = 1.0f / std::sqrt(static_cast<float>(vision.head_dim())),
                      .out = attended});  // [rows, width]
  block.proj.Forward(ops_, attended, x, Activation::kNone, x);
  block.norm2.Forward(ops_, x, normed);
  const Matrix inner = wide_.Resize(x.rows, vision.mlp_width());
  block.fc1.Forward(ops_, normed, inner, Activation::kGeluTanh);  // [rows, mlp_width]
  block.fc2.Forward(ops_, inner, x, Activation::kNone, x);        // [rows, width]
}

void VisionEncoder::RunProjector(int64_t num_tiles, ConstMatrix x, Matrix out) {
  const int64_t ratio = config_.projector_config.downsample_ratio;
  const int64_t rows = num_tiles * embeddings_per_tile();
  Matrix current = wide_.Resize(rows, x.cols * ratio * ratio);
  ops_.SpaceToDepth({.x = x,
                     .num_tiles = num_tiles,
                     .side = config_.vision_config.grid(),
                     .ratio = ratio,
                     .out = current});  // [tiles·196, 4·width]
  for (size_t i = 0; i < projector_.size(); ++i) {
    const bool last = i + 1 == projector_.size();
    // Two buffers take turns: each layer reads one and writes the other.
    GrowingMatrix& buffer = i % 2 == 0 ? attended_ : wide_;
    const Matrix next = last ? out : buffer.Resize(rows, projector_[i].weight->out_features());
    projector_[i].Forward(ops_, current, next, last ? Activation::kNone : Activation::kGeluErf);
    current = next;
  }
}

}  // namespace vl2
