#include "runtime/ops/router.h"

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/packed_weights.h"
#include "runtime/ops/cpu/row_blocks.h"

namespace vl2 {

void CpuOps::DoRoute(const RouteArgs& args) {
  const RouterConfig& config = *args.config;
  const ConstHostMatrix x = args.x.Floats();
  const HostMatrix logits = logits_.Resize(x.rows, config.num_experts);
  matmul_.Run({.x = x.data,
               .x_stride = x.stride,
               .num_rows = x.rows,
               .weights = &static_cast<const CpuLinearWeight*>(args.weight)->panels(),
               .num_out = logits.cols,
               .out = logits.data,
               .out_stride = logits.stride});
  const float* bias = args.correction_bias != nullptr ? args.correction_bias->Floats() : nullptr;
  const MatrixView<int32_t> ids = args.expert_ids.As<int32_t>();
  const HostMatrix weights = args.expert_weights.Floats();
  // Choosing costs some 20 steps a score.
  ForRowBlocks(pool_, x.rows, 20 * config.num_experts, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      SelectExperts(config, logits.row(row), bias, ids.row(row), weights.row(row));
    }
  });
}

}  // namespace vl2
