// Memory of the attention bodies.
//
// Owns: its buffers; they grow while warming up. Threading: `threads[t]` belongs to thread t inside
// a parallel loop, the rest is written by units that own disjoint parts.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/ops/cpu/latent_rows.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

// Floats from one row of scores of a block to the next. Not a multiple of a cache line: single
// values of all rows are read together, and would lie in the same bank of the cache.
inline constexpr int64_t kScoreStride = kBlockTokens + 4;

// Of one thread.
struct AttentionThread {
  GrowingHostMatrix queries;  // packed
  GrowingHostMatrix scores;
  GrowingHostMatrix output;      // running, not yet divided by the sum
  GrowingHostMatrix statistics;  // running maximum and sum of each row
  GrowingHostMatrix keys;        // transposed
  GrowingHostMatrix values;
  GrowingHostMatrix packed;
  GrowingHostMatrix expanded;  // keys of a block before they are transposed
  GrowingHostMatrix widened;   // what is read of a bfloat16 cache, as float32
};

// A contiguous part of one sequence's rows, and of one head's work on them.
struct AttentionUnit {
  int32_t sequence = 0;  // or tile
  int32_t head = 0;
  int64_t first = 0;  // rows of the sequence
  int64_t last = 0;
};

struct AttentionScratch {
  explicit AttentionScratch(int num_threads) : threads(static_cast<size_t>(num_threads)) {}

  std::vector<AttentionThread> threads;
  std::vector<AttentionUnit> units;
  // Memory of LatentBatch's matrices.
  LatentBatch latent;
  GrowingHostMatrix absorbed;
  GrowingHostMatrix latent_out;
  GrowingHostMatrix partial_out;
  GrowingHostMatrix partial_statistics;
};

}  // namespace vl2
