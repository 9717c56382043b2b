#include "runtime/ops/cpu/matmul.h"

#include <algorithm>

#include "runtime/ops/cpu/weight_format/quantized_matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/matmul.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "runtime/ops/cpu/matmul_tiling.h"
#include "runtime/ops/cpu/matmul_unit-inl.h"
#include "runtime/ops/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {

TileShape GetTileShape() {
  TileShape shape;
  shape.max_rows = kMaxTileRows;
  shape.lanes = kVectorLanes;
  for (size_t rows = 1; rows <= kMaxTileRows; ++rows) {
    shape.max_panels[rows] = static_cast<int32_t>(MaxTilePanels(rows));
  }
  return shape;
}

void RunUnit(const MatmulTask& task, const MatmulUnit& unit, uint64_t run, MatmulScratch& scratch) {
  const PackedWeights& weights = *task.weights;
  if (weights.dtype() == DType::kBF16) {
    RunUnitWith(
        Bf16Panels{reinterpret_cast<const uint32_t*>(weights.data()), weights.panel_bytes() / 4},
        task, unit, run, scratch);
  } else {
    RunUnitWith(F32Panels{reinterpret_cast<const float*>(weights.data()), weights.panel_bytes() / 4,
                          static_cast<int64_t>(kPanelLanes)},
                task, unit, run, scratch);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(GetTileShape);
HWY_EXPORT(RunUnit);

Matmul::Matmul(ThreadPool* pool)
    : pool_(pool), scratch_(static_cast<size_t>(pool->num_threads())) {}

double Matmul::Plan(std::span<const MatmulTask> tasks) {
  const TileShape shape = HWY_DYNAMIC_DISPATCH(GetTileShape)();
  double total = 0;
  for (const MatmulTask& task : tasks) {
    total +=
        PanelCost(task, task.num_rows, shape) * static_cast<double>(task.weights->num_panels());
  }
  const double unit_cost =
      std::clamp(total / (pool_->num_threads() * kUnitsPerThread), kMinUnitCost, kMaxUnitCost);
  units_.clear();
  int64_t packed_floats = 0;
  int64_t sum_floats = 0;
  for (size_t index = 0; index < tasks.size(); ++index) {
    const MatmulTask& task = tasks[index];
    if (task.num_rows == 0) continue;
    const int64_t num_tiles = NumTiles(task.num_rows, shape.max_rows);
    const int64_t tile_rows = (task.num_rows + num_tiles - 1) / num_tiles;
    const int64_t num_blocks = (task.num_rows + kBlockRows - 1) / kBlockRows;
    const int64_t block_tiles = (num_tiles + num_blocks - 1) / num_blocks;
    const int64_t block_rows = std::min(block_tiles * tile_rows, task.num_rows);
    int64_t step = shape.max_panels[static_cast<size_t>(tile_rows)];
    if (task.gated && step % 2 != 0) step *= 2;
    const auto wanted = static_cast<int64_t>(unit_cost / PanelCost(task, block_rows, shape));
    const int64_t most = std::max(step, kMaxUnitPanels / step * step);
    const int64_t panels = std::clamp((wanted + step - 1) / step * step, step, most);
    for (int64_t tile = 0; tile < num_tiles; tile += block_tiles) {
      for (int64_t panel = 0; panel < task.weights->num_panels(); panel += panels) {
        units_.push_back(
            {static_cast<int32_t>(index), static_cast<int32_t>(tile),
             static_cast<int32_t>(std::min(block_tiles, num_tiles - tile)),
             static_cast<int32_t>(panel),
             static_cast<int32_t>(std::min(panels, task.weights->num_panels() - panel))});
      }
    }
    packed_floats = std::max(packed_floats, block_rows * task.weights->x_words());
    sum_floats = std::max(sum_floats, block_rows * panels * static_cast<int64_t>(kPanelLanes));
  }
  for (MatmulScratch& scratch : scratch_) {
    scratch.packed_x.Resize(1, packed_floats);
    scratch.sums.Resize(1, sum_floats);
  }
  return total;
}

void Matmul::Run(std::span<const MatmulTask> tasks) {
  const double cost = Plan(tasks);
  ++run_;
  const auto run_stored = HWY_DYNAMIC_DISPATCH(RunUnit);
  const RunUnitFunction run_integers = QuantizedRunUnit();
  const auto run = [&](int64_t index, int thread) {
    const MatmulUnit& unit = units_[static_cast<size_t>(index)];
    const MatmulTask& task = tasks[static_cast<size_t>(unit.task)];
    const bool stored = task.weights->format() == WeightFormat::kAsStored;
    (stored ? run_stored : run_integers)(task, unit, run_, scratch_[static_cast<size_t>(thread)]);
  };
  const auto num_units = static_cast<int64_t>(units_.size());
  if (cost > kInlineCost) return pool_->ParallelFor(num_units, run);
  for (int64_t index = 0; index < num_units; ++index) run(index, 0);
}

}  // namespace vl2
#endif  // HWY_ONCE
