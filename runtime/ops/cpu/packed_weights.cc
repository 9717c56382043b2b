#include "runtime/ops/cpu/packed_weights.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/weight_format/superblock.h"

namespace vl2 {
namespace {

// Words of 32 bits copied from one row before the next row's turn: one cache line of each.
constexpr int64_t kBlockWords = 16;

// Transposes 16 rows of 32-bit words into [word][16].
void PackWords(const std::byte* const* rows, int64_t num_words, std::byte* to) {
  const auto lanes = static_cast<int64_t>(kPanelLanes);
  for (int64_t first = 0; first < num_words; first += kBlockWords) {
    const int64_t last = std::min(first + kBlockWords, num_words);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const std::byte* row = rows[lane];
      for (int64_t word = first; word < last; ++word) {
        uint32_t value = 0;
        if (row != nullptr) std::memcpy(&value, row + word * 4, 4);
        std::memcpy(to + (word * lanes + lane) * 4, &value, 4);
      }
    }
  }
}

const std::byte* RowBytes(const TensorView& matrix, int64_t row) {
  return matrix.bytes + static_cast<size_t>(row * matrix.shape[1]) * SizeOf(matrix.dtype);
}

// Pointers to `matrix`'s rows [first, first + 16), null after its last row.
void AppendPanelRows(const TensorView& matrix, int64_t first, std::vector<const std::byte*>* rows) {
  for (int64_t row = first; row < first + static_cast<int64_t>(kPanelLanes); ++row) {
    rows->push_back(row < matrix.shape[0] ? RowBytes(matrix, row) : nullptr);
  }
}

int64_t TotalRows(std::span<const WeightView> parts) {
  int64_t rows = 0;
  for (const WeightView& part : parts) rows += part.shape[0];
  return rows;
}

}  // namespace

int64_t PackedWeights::BytesOfPanel(WeightFormat format, DType dtype, int64_t in) {
  if (format != WeightFormat::kAsStored) return PanelBytes(format, in);
  const int64_t words = dtype == DType::kF32 ? in : (in + 1) / 2;
  return words * static_cast<int64_t>(kPanelLanes) * 4;
}

PackedWeights::PackedWeights(DType dtype, int64_t in, std::span<const std::byte* const> rows,
                             ThreadPool* pool, WeightFormat format, std::byte* memory)
    : format_(format), dtype_(dtype), in_(in) {
  VL2_CHECK(dtype == DType::kBF16 || dtype == DType::kF32) << Name(dtype);
  const auto lanes = static_cast<int64_t>(kPanelLanes);
  const auto num_rows = static_cast<int64_t>(rows.size());
  VL2_CHECK(num_rows % lanes == 0) << num_rows << " rows";
  num_panels_ = num_rows / lanes;
  panel_bytes_ = BytesOfPanel(format, dtype, in);
  if (memory == nullptr) buffer_ = AlignedBuffer(num_bytes());
  data_ = memory != nullptr ? memory : buffer_.data();
  if (format != WeightFormat::kAsStored) {
    pool->ParallelFor(num_panels_, [&](int64_t panel, int) {
      QuantizePanel(format, dtype,
                    std::span<const std::byte* const, kSuperblockLanes>(rows.data() + panel * lanes,
                                                                        kSuperblockLanes),
                    in, data_ + panel * panel_bytes_);
    });
    return;
  }
  const int64_t words = panel_bytes_ / (lanes * 4);
  const bool odd = dtype == DType::kBF16 && in % 2 != 0;
  pool->ParallelFor(num_panels_, [&](int64_t panel, int) {
    const std::byte* const* panel_rows = rows.data() + panel * lanes;
    std::byte* to = data_ + panel * panel_bytes_;
    PackWords(panel_rows, odd ? words - 1 : words, to);
    if (!odd) return;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      uint32_t value = 0;  // the second half stays zero
      if (panel_rows[lane] != nullptr) {
        uint16_t half;
        std::memcpy(&half, panel_rows[lane] + (in - 1) * 2, 2);
        value = half;
      }
      std::memcpy(to + ((words - 1) * lanes + lane) * 4, &value, 4);
    }
  });
}

PackedWeights::PackedWeights(WeightFormat format, int64_t in,
                             std::span<const std::byte* const> panels, ThreadPool* pool,
                             std::byte* memory)
    : format_(format),
      in_(in),
      num_panels_(static_cast<int64_t>(panels.size())),
      panel_bytes_(PanelBytes(format, in)) {
  if (memory == nullptr) buffer_ = AlignedBuffer(num_bytes());
  data_ = memory != nullptr ? memory : buffer_.data();
  pool->ParallelFor(num_panels_, [&](int64_t panel, int) {
    std::memcpy(data_ + panel * panel_bytes_, panels[static_cast<size_t>(panel)],
                static_cast<size_t>(panel_bytes_));
  });
}

CpuLinearWeight::CpuLinearWeight(std::span<const WeightView> parts, ThreadPool* pool,
                                 WeightFormat format, std::byte* memory)
    : LinearWeight(TotalRows(parts), parts[0].shape[1]) {
  std::vector<const std::byte*> rows;
  if (parts[0].packed != WeightFormat::kAsStored) {
    for (const WeightView& part : parts) {
      for (int64_t panel = 0; panel < part.num_panels(); ++panel) rows.push_back(part.panel(panel));
    }
    panels_ = PackedWeights(parts[0].packed, in_features(), rows, pool, memory);
    return;
  }
  for (const WeightView& part : parts) {
    for (int64_t row = 0; row < part.shape[0]; ++row) rows.push_back(RowBytes(part, row));
  }
  while (rows.size() % kPanelLanes != 0) rows.push_back(nullptr);
  panels_ = PackedWeights(parts[0].dtype, in_features(), rows, pool, format, memory);
}

CpuGatedLinearWeight::CpuGatedLinearWeight(const WeightView& gate, const WeightView& up,
                                           ThreadPool* pool, WeightFormat format, std::byte* memory)
    : GatedLinearWeight(gate.shape[0], gate.shape[1]) {
  std::vector<const std::byte*> rows;
  if (gate.packed != WeightFormat::kAsStored) {
    for (int64_t panel = 0; panel < gate.num_panels(); ++panel) {
      rows.push_back(gate.panel(panel));
      rows.push_back(up.panel(panel));
    }
    panels_ = PackedWeights(gate.packed, in_features(), rows, pool, memory);
    return;
  }
  for (int64_t row = 0; row < gate.shape[0]; row += static_cast<int64_t>(kPanelLanes)) {
    AppendPanelRows(gate, row, &rows);
    AppendPanelRows(up, row, &rows);
  }
  panels_ = PackedWeights(gate.dtype, in_features(), rows, pool, format, memory);
}

}  // namespace vl2
