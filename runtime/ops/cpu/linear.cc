#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/packed_weights.h"

namespace vl2 {

std::unique_ptr<LinearWeight> CpuOps::DoPackLinear(std::span<const TensorView> parts) {
  return std::make_unique<CpuLinearWeight>(parts, pool_);
}

std::unique_ptr<GatedLinearWeight> CpuOps::DoPackGatedLinear(const TensorView& gate,
                                                             const TensorView& up) {
  return std::make_unique<CpuGatedLinearWeight>(gate, up, pool_);
}

void CpuOps::DoLinear(const LinearArgs& args) {
  const ConstHostMatrix x = args.x.Floats();
  const HostMatrix out = args.out.Floats();
  matmul_.Run({.x = x.data,
               .x_stride = x.stride,
               .num_rows = x.rows,
               .weights = &static_cast<const CpuLinearWeight*>(args.weight)->panels(),
               .num_out = out.cols,
               .bias = args.bias != nullptr ? args.bias->Floats() : nullptr,
               .activation = args.activation,
               .residual = args.residual.Floats(),
               .out = out.data,
               .out_stride = out.stride});
}

void CpuOps::DoGatedLinear(const GatedLinearArgs& args) {
  const ConstHostMatrix x = args.x.Floats();
  const HostMatrix out = args.out.Floats();
  matmul_.Run({.x = x.data,
               .x_stride = x.stride,
               .num_rows = x.rows,
               .weights = &static_cast<const CpuGatedLinearWeight*>(args.weight)->panels(),
               .num_out = out.cols,
               .gated = true,
               .out = out.data,
               .out_stride = out.stride});
}

}  // namespace vl2
