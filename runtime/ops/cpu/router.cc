#include "runtime/ops/router.h"

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/packed_weights.h"
#include "runtime/ops/cpu/row_blocks.h"

namespace vl2 {

void CpuOps::DoRoute(const RouteArgs& args) {
  const RouterConfig& config = *args.config;
  const Matrix logits = logits_.Resize(args.x.rows, config.num_experts);
  matmul_.Run({.x = args.x.data,
               .x_stride = args.x.stride,
               .num_rows = args.x.rows,
               .weights = &static_cast<const CpuLinearWeight*>(args.weight)->panels(),
               .num_out = logits.cols,
               .out = logits.data,
               .out_stride = logits.stride});
  // Choosing costs some 20 steps a score.
  ForRowBlocks(pool_, args.x.rows, 20 * config.num_experts, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      SelectExperts(config, logits.row(row), args.correction_bias,
                    args.expert_ids + row * config.top_k, args.expert_weights + row * config.top_k);
    }
  });
}

}  // namespace vl2
