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
  matmul_.Run({.x = args.x.data,
               .x_stride = args.x.stride,
               .num_rows = args.x.rows,
               .weights = &static_cast<const CpuLinearWeight*>(args.weight)->panels(),
               .num_out = args.out.cols,
               .bias = args.bias,
               .activation = args.activation,
               .residual = args.residual,
               .out = args.out.data,
               .out_stride = args.out.stride});
}

void CpuOps::DoGatedLinear(const GatedLinearArgs& args) {
  matmul_.Run({.x = args.x.data,
               .x_stride = args.x.stride,
               .num_rows = args.x.rows,
               .weights = &static_cast<const CpuGatedLinearWeight*>(args.weight)->panels(),
               .num_out = args.out.cols,
               .gated = true,
               .out = args.out.data,
               .out_stride = args.out.stride});
}

}  // namespace vl2
