// HostOps: what backends that compute on the host share: the layout of the cache and the bodies
// that only move bytes.
//
// One layer's part of a block, of float32 or bfloat16:
//   multi-head:  keys   [num_kv_heads][head_dim][kBlockTokens]   (after rotation; transposed so
//                                                             that scores run one lane per token)
//                values [num_kv_heads][kBlockTokens][head_dim]
//   latent:      [kBlockTokens][kv_lora_rank + qk_rope_head_dim]   (after norm and rotation)
#pragma once

#include "runtime/ops/ops.h"

namespace vl2 {

class HostOps : public Ops {
 public:
  using Ops::Ops;
  int64_t CacheLayerBytes(const CacheShape& shape) const final;

 protected:
  void DoTakeRows(const TakeRowsArgs& args) override;
  void DoReadCache(const ReadCacheArgs& args) override;
  void DoExtractPatches(const ExtractPatchesArgs& args) override;
};

// A block of a layer in that layout, value by value.
class CacheBlock {
 public:
  CacheBlock(const PagedLayer& layer, int32_t index)
      : data_(layer.block(index)), dtype_(layer.dtype) {}

  // REQUIRES: the layer is of that type.
  float* floats() const { return reinterpret_cast<float*>(data_); }
  BFloat16* bfloats() const { return reinterpret_cast<BFloat16*>(data_); }

  float Get(int64_t i) const { return dtype_ == DType::kF32 ? floats()[i] : ToFloat(bfloats()[i]); }
  void Set(int64_t i, float value) const {
    if (dtype_ == DType::kF32) {
      floats()[i] = value;
    } else {
      bfloats()[i] = ToBFloat16(value);
    }
  }

 private:
  std::byte* data_;
  DType dtype_;
};

// VL2_CHECKs what Route promises: ids ascending in each row, below num_experts.
void CheckExpertIds(MatrixView<const int32_t> ids, int64_t num_experts);

}  // namespace vl2
