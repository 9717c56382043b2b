// All experts of a layer as packed panels, one after the other in one block of memory (in huge
// pages, which a small expert alone would not fill): the routed ones, then the shared ones as one
// more.
//
// Owns: its bytes. Immutable.
#pragma once

#include <vector>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/cpu/packed_weights.h"
#include "runtime/ops/moe.h"

namespace vl2 {

class CpuMoeWeight final : public MoeWeight {
 public:
  CpuMoeWeight(const Dims& dims, const LoadExpert& load, ThreadPool* pool, WeightFormat format);
  size_t num_bytes() const override;

  // Expert `index`; num_experts: the shared ones.
  const PackedWeights& gate_up(int64_t index) const {
    return gate_up_[static_cast<size_t>(index)].panels();
  }
  const PackedWeights& down(int64_t index) const {
    return down_[static_cast<size_t>(index)].panels();
  }

 private:
  AlignedBuffer memory_;
  std::vector<CpuGatedLinearWeight> gate_up_;
  std::vector<CpuLinearWeight> down_;
};

}  // namespace vl2
