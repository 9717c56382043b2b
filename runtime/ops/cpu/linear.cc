#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/packed_weights.h"

namespace vl2 {

std::unique_ptr<LinearWeight> CpuOps::DoPackLinear(std::span<const WeightView> parts,
                                                   WeightFormat format) {
  return std::make_unique<CpuLinearWeight>(parts, pool_, format);
}

std::unique_ptr<GatedLinearWeight> CpuOps::DoPackGatedLinear(const WeightView& gate,
                                                             const WeightView& up,
                                                             WeightFormat format) {
  return std::make_unique<CpuGatedLinearWeight>(gate, up, pool_, format);
}

void CpuOps::DoLinear(const LinearArgs& args) {
  const PackedWeights& weights = static_cast<const CpuLinearWeight*>(args.weight)->panels();
  const ConstHostMatrix x = RowsFor(weights.format(), args.x.Floats(), pool_, &rows_);
  const HostMatrix out = args.out.Floats();
  matmul_.Run({.x = x.data,
               .x_stride = x.stride,
               .num_rows = x.rows,
               .weights = &weights,
               .num_out = out.cols,
               .bias = args.bias != nullptr ? args.bias->Floats() : nullptr,
               .activation = args.activation,
               .residual = args.residual.Floats(),
               .out = out.data,
               .out_stride = out.stride});
}

void CpuOps::DoGatedLinear(const GatedLinearArgs& args) {
  const PackedWeights& weights = static_cast<const CpuGatedLinearWeight*>(args.weight)->panels();
  const ConstHostMatrix x = RowsFor(weights.format(), args.x.Floats(), pool_, &rows_);
  const HostMatrix out = args.out.Floats();
  matmul_.Run({.x = x.data,
               .x_stride = x.stride,
               .num_rows = x.rows,
               .weights = &weights,
               .num_out = out.cols,
               .gated = true,
               .out = out.data,
               .out_stride = out.stride});
}

}  // namespace vl2
