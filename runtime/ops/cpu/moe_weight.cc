#include "runtime/ops/cpu/moe_weight.h"

#include <span>
#include <utility>

namespace vl2 {

namespace {

int64_t RoundUp(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

// Bytes of a matrix of so many outputs; the next one begins behind them.
int64_t MatrixBytes(WeightFormat format, DType dtype, int64_t out, int64_t in) {
  const auto lanes = static_cast<int64_t>(kPanelLanes);
  const int64_t bytes =
      RoundUp(out, lanes) / lanes * PackedWeights::BytesOfPanel(format, dtype, in);
  return RoundUp(bytes, static_cast<int64_t>(AlignedBuffer::kAlignment));
}

}  // namespace

CpuMoeWeight::CpuMoeWeight(const Dims& dims, const LoadExpert& load, ThreadPool* pool,
                           WeightFormat format)
    : MoeWeight(dims) {
  const int64_t count = dims.num_experts + (dims.shared_width > 0 ? 1 : 0);
  gate_up_.reserve(static_cast<size_t>(count));
  down_.reserve(static_cast<size_t>(count));
  int64_t taken = 0;
  // Null where a tensor is of a wider type than the first expert's: it gets memory of its own.
  const auto take = [&](int64_t bytes) -> std::byte* {
    if (taken + bytes > static_cast<int64_t>(memory_.size())) return nullptr;
    return memory_.data() + std::exchange(taken, taken + bytes);
  };
  for (int64_t index = 0; index < count; ++index) {
    const ExpertTensors tensors = load(index);
    const auto bytes = [&](const WeightView& view, int64_t out, int64_t in) {
      return MatrixBytes(view.packed != WeightFormat::kAsStored ? view.packed : format, view.dtype,
                         out, in);
    };
    const auto gate_up_bytes = [&](int64_t width) {
      return 2 * bytes(tensors.gate, width, dims.hidden);
    };
    const auto down_bytes = [&](int64_t width) { return bytes(tensors.down, dims.hidden, width); };
    if (index == 0) {
      int64_t all = dims.num_experts * (gate_up_bytes(dims.width) + down_bytes(dims.width));
      if (dims.shared_width > 0) {
        all += gate_up_bytes(dims.shared_width) + down_bytes(dims.shared_width);
      }
      memory_ = AlignedBuffer(static_cast<size_t>(all));
    }
    const int64_t width = index < dims.num_experts ? dims.width : dims.shared_width;
    gate_up_.emplace_back(tensors.gate, tensors.up, pool, format, take(gate_up_bytes(width)));
    down_.emplace_back(std::span(&tensors.down, 1), pool, format, take(down_bytes(width)));
  }
}

size_t CpuMoeWeight::num_bytes() const {
  size_t bytes = 0;
  for (const CpuGatedLinearWeight& weight : gate_up_) bytes += weight.num_bytes();
  for (const CpuLinearWeight& weight : down_) bytes += weight.num_bytes();
  return bytes;
}

}  // namespace vl2
