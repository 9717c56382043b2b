// Matmul: runs a set of products x · Wᵀ as small work units over the threads.
//
// A task is one product with what follows it (bias, activation, residual; or silu(gate) ⊙ up). All
// tasks of one Run are independent and share one fork-join: the experts of a layer are tasks.
// A unit is a few panels of weights times a block of rows. With few rows it reads about 100 KB of
// weights; with many, the block's packed rows stay in the second-level cache, and a thread that
// takes the next unit of the same block does not pack again.
//
// Owns: scratch per thread, grown while warming up. Threading: one Run at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/cpu/packed_weights.h"
#include "runtime/ops/linear.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

struct MatmulTask {
  // [.., in]; for weights of integers what RowsFor (weight_format/quantized_rows.h) makes of it.
  const float* x = nullptr;
  int64_t x_stride = 0;
  const int32_t* x_rows = nullptr;  // row r of the product is row x_rows[r] of x; null: row r
  int64_t num_rows = 0;
  const PackedWeights* weights = nullptr;
  int64_t num_out = 0;  // columns of out
  // Weights are alternating panels of gate and up, and out = silu(gate) ⊙ up. Otherwise:
  // out = activation(x · Wᵀ + bias) + residual.
  bool gated = false;
  const float* bias = nullptr;
  Activation activation = Activation::kNone;
  ConstHostMatrix residual = {};  // row r takes row r % residual.rows; empty: none
  float* out = nullptr;           // [.., num_out]
  int64_t out_stride = 0;
  const int32_t* out_rows = nullptr;  // row r is written to row out_rows[r]; null: row r
};

// A part of a task: tiles (groups of rows) times panels.
struct MatmulUnit {
  int32_t task = 0;
  int32_t first_tile = 0;
  int32_t num_tiles = 0;
  int32_t first_panel = 0;
  int32_t num_panels = 0;
};

// One thread's memory.
struct MatmulScratch {
  GrowingHostMatrix packed_x;
  GrowingHostMatrix sums;
  // Which rows packed_x holds.
  uint64_t run = 0;
  int32_t task = -1;
  int32_t first_tile = -1;
};

class Matmul {
 public:
  explicit Matmul(ThreadPool* pool);

  void Run(std::span<const MatmulTask> tasks);
  void Run(const MatmulTask& task) { Run(std::span(&task, 1)); }

 private:
  // Fills units_; returns their cost (matmul_tiling.h).
  double Plan(std::span<const MatmulTask> tasks);

  ThreadPool* const pool_;
  uint64_t run_ = 0;
  std::vector<MatmulUnit> units_;
  std::vector<MatmulScratch> scratch_;  // [num_threads]
};

}  // namespace vl2
