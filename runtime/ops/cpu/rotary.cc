#include <cstring>

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/row_blocks.h"

namespace vl2 {
namespace {

void RotateHalves(float* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * cos[i] - b * sin[i];
    x[i + half] = b * cos[i] + a * sin[i];
  }
}

// Pairs become halves. The second half of the result waits in `second` until the pairs it would
// overwrite are read; a first-half value at i overwrites pairs at most at 2i, already read.
void RotateInterleaved(float* x, const float* cos, const float* sin, int64_t half, float* second) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    x[i] = a * cos[i] - b * sin[i];
    second[i] = b * cos[i] + a * sin[i];
  }
  std::memcpy(x + half, second, static_cast<size_t>(half) * sizeof(float));
}

}  // namespace

void CpuOps::DoRotary(const RotaryArgs& args) {
  const int64_t dim = args.table->dim;
  const int64_t half = dim / 2;
  constexpr int64_t kMaxHalf = 512;
  VL2_CHECK(half <= kMaxHalf) << "rotary dim " << dim;
  const HostMatrix rows = args.x.Floats();
  const float* all_cos = args.table->cos.Floats();
  const float* all_sin = args.table->sin.Floats();
  const std::span<const int32_t> positions = args.batch->positions();
  ForRowBlocks(pool_, rows.rows, args.num_heads * dim, [&](int64_t first, int64_t last) {
    float second[kMaxHalf];
    for (int64_t token = first; token < last; ++token) {
      const int64_t angle = positions[static_cast<size_t>(token)] * half;
      const float* cos = all_cos + angle;
      const float* sin = all_sin + angle;
      for (int64_t head = 0; head < args.num_heads; ++head) {
        float* x = rows.row(token) + head * args.head_stride + args.offset;
        if (args.layout == RotaryLayout::kHalves) {
          RotateHalves(x, cos, sin, half);
        } else {
          RotateInterleaved(x, cos, sin, half, second);
        }
      }
    }
  });
}

}  // namespace vl2
