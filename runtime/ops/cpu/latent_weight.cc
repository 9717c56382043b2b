#include "runtime/ops/cpu/latent_weight.h"

#include <cstring>

namespace vl2 {
namespace {

// Rows [first, first + count) of `matrix`, padded with null to whole panels.
std::vector<const std::byte*> RowPointers(const std::byte* matrix, size_t row_bytes, int64_t first,
                                          int64_t count) {
  std::vector<const std::byte*> rows;
  for (int64_t row = first; row < first + count; ++row) {
    rows.push_back(matrix + static_cast<size_t>(row) * row_bytes);
  }
  while (rows.size() % kPanelLanes != 0) rows.push_back(nullptr);
  return rows;
}

}  // namespace

CpuLatentWeight::CpuLatentWeight(const TensorView& kv_b, const Dims& dims, ThreadPool* pool)
    : LatentWeight(dims), heads_(static_cast<size_t>(dims.num_heads)) {
  const size_t element = SizeOf(kv_b.dtype);
  const auto rank = static_cast<size_t>(dims.kv_lora_rank);
  const auto nope = static_cast<size_t>(dims.qk_nope_head_dim);
  const size_t row_bytes = rank * element;
  std::vector<std::byte> transposed(rank * nope * element);
  for (int64_t h = 0; h < dims.num_heads; ++h) {
    Head& head = heads_[static_cast<size_t>(h)];
    const int64_t first = h * (dims.qk_nope_head_dim + dims.v_head_dim);
    head.key =
        PackedWeights(kv_b.dtype, dims.kv_lora_rank,
                      RowPointers(kv_b.bytes, row_bytes, first, dims.qk_nope_head_dim), pool);
    head.value = PackedWeights(
        kv_b.dtype, dims.kv_lora_rank,
        RowPointers(kv_b.bytes, row_bytes, first + dims.qk_nope_head_dim, dims.v_head_dim), pool);
    const std::byte* from = kv_b.bytes + static_cast<size_t>(first) * row_bytes;
    for (size_t r = 0; r < rank; ++r) {
      for (size_t n = 0; n < nope; ++n) {
        std::memcpy(transposed.data() + (r * nope + n) * element,
                    from + n * row_bytes + r * element, element);
      }
    }
    head.key_absorb =
        PackedWeights(kv_b.dtype, dims.qk_nope_head_dim,
                      RowPointers(transposed.data(), nope * element, 0, dims.kv_lora_rank), pool);
  }
}

size_t CpuLatentWeight::num_bytes() const {
  size_t bytes = 0;
  for (const Head& head : heads_) {
    bytes += head.key.num_bytes() + head.key_absorb.num_bytes() + head.value.num_bytes();
  }
  return bytes;
}

}  // namespace vl2
