// How a product is cut into tiles and work units. Nothing here changes a result: see tile-inl.h.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "runtime/ops/cpu/matmul.h"

namespace vl2 {

// Register tiles of the instruction set that runs.
struct TileShape {
  int64_t max_rows = 1;
  int64_t lanes = 4;
  std::array<int32_t, 16> max_panels{};  // by number of rows
};

// Rows of a block whose packed copy a thread keeps in its second-level cache.
inline constexpr int64_t kBlockRows = 144;
// A block of k: its part of a tile's packed rows and of the panels beside it stay in the
// first-level cache. Even, so that pairs of bfloat16 are not cut.
inline constexpr int64_t kBlockK = 512;
// Up to this many tiles, all of k is one block: weights then stream in long runs.
inline constexpr int64_t kFewTiles = 2;
inline constexpr int64_t kMaxUnitPanels = 32;

// Costs are in cycles, roughly. A unit is at least worth its overhead, at most what keeps
// cancelling and balancing fine-grained.
inline constexpr double kMinUnitCost = 20e3;
inline constexpr double kMaxUnitCost = 400e3;
inline constexpr double kUnitsPerThread = 8;
// Less than this runs on the calling thread: waking others takes as long on a busy machine.
inline constexpr double kInlineCost = 60e3;

inline int64_t NumTiles(int64_t num_rows, int64_t max_rows) {
  return (num_rows + max_rows - 1) / max_rows;
}

// First row of a tile: rows are spread evenly, 13 = 7 + 6.
inline int64_t TileRow(int64_t num_rows, int64_t num_tiles, int64_t tile) {
  return num_rows * tile / num_tiles;
}

// Of one panel times `num_rows` rows: reading the weights, or multiplying, whichever is longer.
inline double PanelCost(const MatmulTask& task, int64_t num_rows, const TileShape& shape) {
  constexpr double kBytesPerCycle = 5;
  const double multiply_adds = static_cast<double>(task.weights->in() * num_rows) * kPanelLanes;
  return std::max(static_cast<double>(task.weights->panel_bytes()) / kBytesPerCycle,
                  multiply_adds / (1.5 * static_cast<double>(shape.lanes) *
                                   ProductRate(task.weights->format())));
}

}  // namespace vl2
