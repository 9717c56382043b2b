// ForRowBlocks: a loop over rows in blocks worth a thread's while. Little work runs on the calling
// thread, without waking the others.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/base/thread_pool.h"

namespace vl2 {

// Calls body(first, last) for blocks of rows that cover [0, num_rows). `row_cost`: values a row
// reads or writes.
template <typename Body>
void ForRowBlocks(ThreadPool* pool, int64_t num_rows, int64_t row_cost, const Body& body) {
  constexpr int64_t kMinBlockCost = 16384;
  const int64_t rows = std::max<int64_t>(1, kMinBlockCost / std::max<int64_t>(1, row_cost));
  const int64_t num_blocks = (num_rows + rows - 1) / rows;
  pool->ParallelFor(num_blocks, [&](int64_t block, int) {
    body(block * rows, std::min((block + 1) * rows, num_rows));
  });
}

}  // namespace vl2
