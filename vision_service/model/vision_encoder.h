// VisionEncoder: tiles in, projected embeddings out: the SigLIP tower and the projector.
//
// Source: VisionTransformer (siglip_vit.py) with pre-norm blocks, LayerNorm eps 1e-6, tanh GELU, no
// class token, final norm, no pooling; MlpProjector "downsample_mlp_gelu" with exact GELU.
//
// Owns: the weights and scratch activations, which grow to the largest batch seen.
// Threading: one thread (the vision engine's). Errors: Load's come from the checkpoint.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/nn/layers.h"
#include "runtime/nn/tap.h"
#include "runtime/nn/weight_loader.h"
#include "runtime/ops/ops.h"

namespace vl2 {

class VisionEncoder {
 public:
  // `ops` must outlive the encoder.
  static std::unique_ptr<VisionEncoder> Load(const Checkpoint& checkpoint, Ops& ops,
                                             const LoadProgress& progress = {},
                                             WeightPolicy policy = WeightPolicy::kAsStored);

  // Encodes a batch of tiles. Each is [image_size][image_size][3] bytes, red, green, blue; `table`
  // has the value of each.
  // Taps, over all tiles: "vision.patch_embed", "vision.block<i>", "vision.output",
  // "projector.output".
  void Encode(std::span<const uint8_t* const> tiles, const PixelTable& table,
              Matrix out,  // [num_tiles * embeddings_per_tile, hidden]
              Tap* tap = nullptr);

  Ops& ops() const { return ops_; }
  int64_t image_size() const { return config_.vision_config.image_size; }
  int64_t embeddings_per_tile() const { return config_.tile_side() * config_.tile_side(); }
  int64_t hidden() const { return config_.projector_config.n_embed; }
  const ModelConfig& config() const { return config_; }
  // image_newline and view_seperator, [hidden].
  const std::vector<float>& image_newline() const { return image_newline_; }
  const std::vector<float>& view_seperator() const { return view_seperator_; }

 private:
  struct Block {
    LayerNormLayer norm1;
    LinearLayer qkv;   // [3·width, width]
    LinearLayer proj;  // [width, width]
    LayerNormLayer norm2;
    LinearLayer fc1;  // [mlp_width, width]
    LinearLayer fc2;  // [width, mlp_width]
  };

  VisionEncoder(const ModelConfig& config, Ops& ops)
      : config_(config),
        ops_(ops),
        x_(ops.device()),
        normed_(ops.device()),
        wide_(ops.device()),
        attended_(ops.device()) {}
  void RunTower(std::span<const uint8_t* const> tiles, const PixelTable& table, Matrix x, Tap* tap);
  void RunBlock(const Block& block, int64_t num_tiles, Matrix x);
  void RunProjector(int64_t num_tiles, ConstMatrix x, Matrix out);

  const ModelConfig config_;
  Ops& ops_;
  LinearLayer patch_embed_;  // [width, 3·patch²]
  DeviceTensor pos_embed_;   // [num_patches, width]
  std::vector<Block> blocks_;
  LayerNormLayer norm_;
  std::vector<LinearLayer> projector_;
  std::vector<float> image_newline_;
  std::vector<float> view_seperator_;

  GrowingMatrix x_, normed_, wide_, attended_;
};

}  // namespace vl2
