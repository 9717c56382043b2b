#include "runtime/ops/host_ops.h"

#include <algorithm>

namespace vl2 {

int64_t HostOps::CacheLayerBytes(const CacheShape& shape) const {
  const int64_t values = shape.latent() ? shape.key_width() : 2 * shape.key_width();
  return kBlockTokens * values * static_cast<int64_t>(SizeOf(shape.dtype));
}

void HostOps::DoTakeRows(const TakeRowsArgs& args) {
  const ConstHostMatrix x = args.x.Floats();
  const HostMatrix out = args.out.Floats();
  int64_t to = 0;
  for (const int32_t row : args.batch->logit_rows()) std::copy_n(x.row(row), x.cols, out.row(to++));
}

void HostOps::DoReadCache(const ReadCacheArgs& args) {
  const CacheShape& shape = args.cache->shape();
  const PagedLayer layer = args.cache->layer(args.layer);
  const int64_t dim = shape.head_dim;
  for (size_t i = 0; i < args.positions.size(); ++i) {
    const int64_t position = args.positions[i];
    const auto row = static_cast<int64_t>(i);
    const CacheBlock block(layer, args.block_table[static_cast<size_t>(position / kBlockTokens)]);
    const int64_t slot = position % kBlockTokens;
    if (shape.latent()) {
      for (int64_t d = 0; d < shape.latent_width; ++d) {
        args.keys.row(row)[d] = block.Get(slot * shape.latent_width + d);
      }
      continue;
    }
    const int64_t values = shape.key_width() * kBlockTokens;
    for (int64_t h = 0; h < shape.num_kv_heads; ++h) {
      for (int64_t d = 0; d < dim; ++d) {
        args.keys.row(row)[h * dim + d] = block.Get((h * dim + d) * kBlockTokens + slot);
        args.values.row(row)[h * dim + d] = block.Get(values + (h * kBlockTokens + slot) * dim + d);
      }
    }
  }
}

void HostOps::DoExtractPatches(const ExtractPatchesArgs& args) {
  const int64_t size = args.image_size;
  const int64_t patch = args.patch_size;
  const int64_t grid = size / patch;
  const HostMatrix out = args.out.Floats();
  for (int64_t row = 0; row < out.rows; ++row) {
    const uint8_t* tile = args.tiles[static_cast<size_t>(row / (grid * grid))];
    const int64_t y0 = row % (grid * grid) / grid * patch;
    const int64_t x0 = row % grid * patch;
    float* to = out.row(row);
    for (size_t c = 0; c < 3; ++c) {
      const std::array<float, 256>& values = (*args.table)[c];
      for (int64_t dy = 0; dy < patch; ++dy) {
        const uint8_t* from = tile + ((y0 + dy) * size + x0) * 3 + c;
        for (int64_t dx = 0; dx < patch; ++dx) *to++ = values[from[3 * dx]];
      }
    }
  }
}

void CheckExpertIds(MatrixView<const int32_t> ids, int64_t num_experts) {
  for (int64_t token = 0; token < ids.rows; ++token) {
    const int32_t* row = ids.row(token);
    for (int64_t k = 0; k < ids.cols; ++k) {
      VL2_CHECK(row[k] >= 0 && row[k] < num_experts && (k == 0 || row[k - 1] < row[k]))
          << "expert " << row[k] << " of " << num_experts << " at " << token << ", " << k;
    }
  }
}

}  // namespace vl2
