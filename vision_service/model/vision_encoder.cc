#include "vision_service/model/vision_encoder.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr double kLayerNormEps = 1e-6;  // siglip_vit.py: partial(nn.LayerNorm, eps=1e-6)

void Show(Tap* tap, std::string_view name, ConstMatrix values) {
  if (tap != nullptr) tap->OnMatrix(name, values);
}

}  // namespace

void ExtractPatches(const float* tile, int64_t image_size, int64_t patch_size, Matrix out) {
  const int64_t grid = image_size / patch_size;
  VL2_CHECK(out.rows == grid * grid && out.cols == 3 * patch_size * patch_size)
      << out.rows << " " << out.cols;
  for (int64_t row = 0; row < out.rows; ++row) {
    const int64_t y0 = row / grid * patch_size;
    const int64_t x0 = row % grid * patch_size;
    float* to = out.row(row);
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t dy = 0; dy < patch_size; ++dy) {
        const float* from = tile + (c * image_size + y0 + dy) * image_size + x0;
        to = std::copy(from, from + patch_size, to);
      }
    }
  }
}

std::unique_ptr<VisionEncoder> VisionEncoder::Load(const Checkpoint& checkpoint, Ops& ops,
                                                   const LoadProgress& progress) {
  WeightLoader loader(checkpoint, ops, progress);
  std::unique_ptr<VisionEncoder> encoder(new VisionEncoder(checkpoint.config(), ops));
  encoder->patch_embed_ = loader.PatchLinear("vision.patch_embed.proj");
  encoder->pos_embed_ = loader.Floats("vision.pos_embed");
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

void VisionEncoder::Encode(std::span<const float* const> tiles, Matrix out, Tap* tap) {
  const auto num_tiles = static_cast<int64_t>(tiles.size());
  if (num_tiles == 0) return;
  const VisionConfig& vision = config_.vision_config;
  const Matrix x = x_.Resize(num_tiles * vision.num_patches(), vision.width);
  RunTower(tiles, x, tap);
  RunProjector(num_tiles, x, out);
  Show(tap, "projector.output", out);
}

void VisionEncoder::RunTower(std::span<const float* const> tiles, Matrix x, Tap* tap) {
  const VisionConfig& vision = config_.vision_config;
  const auto num_tiles = static_cast<int64_t>(tiles.size());
  const int64_t num_patches = vision.num_patches();
  const Matrix patches = wide_.Resize(x.rows, 3 * vision.patch_size * vision.patch_size);
  for (int64_t t = 0; t < num_tiles; ++t) {
    ExtractPatches(tiles[static_cast<size_t>(t)], vision.image_size, vision.patch_size,
                   patches.Rows(t * num_patches, num_patches));
  }
  if (tap != nullptr) {
    patch_embed_.Forward(ops_, patches, x);  // [tiles·patches, width], positions not yet added
    tap->OnMatrix("vision.patch_embed", x);
  }
  const ConstMatrix positions(pos_embed_.data(), num_patches, vision.width);
  patch_embed_.Forward(ops_, patches, x, Activation::kNone, positions);
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
