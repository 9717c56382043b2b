#include <algorithm>

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/row_blocks.h"

namespace vl2 {

void CpuOps::DoSpaceToDepth(const SpaceToDepthArgs& args) {
  const int64_t ratio = args.ratio;
  const int64_t area = ratio * ratio;
  const int64_t out_side = (args.side + ratio - 1) / ratio;
  const ConstHostMatrix all_x = args.x.Floats();
  const HostMatrix all_out = args.out.Floats();
  const int64_t channels = all_x.cols;
  ForRowBlocks(pool_, all_out.rows, all_out.cols, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t tile = row / (out_side * out_side);
      const int64_t out_y = row / out_side % out_side;
      const int64_t out_x = row % out_side;
      float* out = all_out.row(row);
      for (int64_t offset = 0; offset < area; ++offset) {
        const int64_t y = out_y * ratio + offset / ratio;
        const int64_t x = out_x * ratio + offset % ratio;
        if (y < args.side && x < args.side) {
          const float* from = all_x.row((tile * args.side + y) * args.side + x);
          for (int64_t c = 0; c < channels; ++c) out[c * area + offset] = from[c];
        } else {
          for (int64_t c = 0; c < channels; ++c) out[c * area + offset] = 0.0f;
        }
      }
    }
  });
}

}  // namespace vl2
