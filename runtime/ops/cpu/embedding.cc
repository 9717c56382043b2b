#include <cstring>

#include "runtime/ops/cpu/cpu_ops.h"
#include "runtime/ops/cpu/row_blocks.h"

namespace vl2 {

void CpuOps::DoEmbed(const EmbedArgs& args) {
  const ConstMatrix table = args.table->matrix();
  const std::span<const int32_t> ids = args.batch->ids();
  const HostMatrix out = args.out.Floats();
  const int64_t hidden = out.cols;
  const auto row_bytes = static_cast<size_t>(hidden) * SizeOf(table.dtype);
  ForRowBlocks(pool_, out.rows, hidden, [&](int64_t first, int64_t last) {
    for (int64_t token = first; token < last; ++token) {
      const std::byte* from = table.row(ids[static_cast<size_t>(token)]);
      float* to = out.row(token);
      if (table.dtype == DType::kF32) {
        std::memcpy(to, from, row_bytes);
        continue;
      }
      for (int64_t col = 0; col < hidden; ++col) {
        BFloat16 value;
        std::memcpy(&value, from + col * 2, 2);
        to[col] = ToFloat(value);
      }
    }
  });
}

}  // namespace vl2
