#include "runtime/weight_format/weight_view.h"

namespace vl2 {

std::vector<std::byte> QuantizeMatrix(WeightFormat format, const TensorView& matrix) {
  const int64_t out = matrix.shape[0];
  const int64_t in = matrix.shape[1];
  const auto panel_bytes = static_cast<size_t>(PanelBytes(format, in));
  const size_t row_bytes = static_cast<size_t>(in) * SizeOf(matrix.dtype);
  std::vector<std::byte> panels;
  for (int64_t first = 0; first < out; first += kSuperblockLanes) {
    const std::byte* rows[kSuperblockLanes] = {};
    for (int64_t lane = 0; lane < kSuperblockLanes && first + lane < out; ++lane) {
      rows[lane] = matrix.bytes + static_cast<size_t>(first + lane) * row_bytes;
    }
    panels.resize(panels.size() + panel_bytes);
    QuantizePanel(format, matrix.dtype, rows, in, panels.data() + panels.size() - panel_bytes);
  }
  return panels;
}

}  // namespace vl2
