#include "runtime/ops/cpu/moe_weight.h"

#include <span>

namespace vl2 {

CpuMoeWeight::CpuMoeWeight(const Dims& dims, const LoadExpert& load, ThreadPool* pool,
                           WeightFormat format)
    : MoeWeight(dims) {
  const int64_t count = dims.num_experts + (dims.shared_width > 0 ? 1 : 0);
  gate_up_.reserve(static_cast<size_t>(count));
  down_.reserve(static_cast<size_t>(count));
  for (int64_t index = 0; index < count; ++index) {
    const ExpertTensors tensors = load(index);
    gate_up_.emplace_back(tensors.gate, tensors.up, pool, format);
    down_.emplace_back(std::span(&tensors.down, 1), pool, format);
  }
}

size_t CpuMoeWeight::num_bytes() const {
  size_t bytes = 0;
  for (const CpuGatedLinearWeight& weight : gate_up_) bytes += weight.num_bytes();
  for (const CpuLinearWeight& weight : down_) bytes += weight.num_bytes();
  return bytes;
}

}  // namespace vl2
