// kv_b_proj of one layer, per head, in the layouts of both forms of latent attention.
//
// Owns: its bytes. Immutable.
#pragma once

#include <vector>

#include "runtime/ops/attention.h"
#include "runtime/ops/cpu/packed_weights.h"

namespace vl2 {

class CpuLatentWeight final : public LatentWeight {
 public:
  struct Head {
    PackedWeights key;         // W_UK   [nope, rank]: keys from latents
    PackedWeights key_absorb;  // W_UKᵀ  [rank, nope]: queries into the latent space
    PackedWeights value;       // W_UV   [v, rank]
  };

  CpuLatentWeight(const TensorView& kv_b, const Dims& dims, ThreadPool* pool);
  size_t num_bytes() const override;
  const Head& head(int64_t index) const { return heads_[static_cast<size_t>(index)]; }

 private:
  std::vector<Head> heads_;
};

}  // namespace vl2
