// Rows of x as products with integer weights read them: for each group of 128 k (superblock.h) one
// record of 32-bit words, kept in memory that is otherwise for floats.
//
//   kW7A8   scale, −64·Σx̂, 32 words of 4 k
//   kW8A16  scale, −128·Σx̂, 64 words of 2 k, in the order (0, 2), (1, 3) of each 4
//   kW4A8   scale, 4 words for blocks of 32 k, 32 words of 4 k. Such a word holds two 16-bit sums
//           −Σx̂: over k mod 4 < 2 in the low half, over the others in the high one
#pragma once

#include <cstdint>

#include "runtime/base/thread_pool.h"
#include "runtime/tensor/matrix.h"
#include "runtime/weight_format/superblock.h"

namespace vl2 {

constexpr int64_t RecordWords(WeightFormat format) {
  switch (format) {
    case WeightFormat::kAsStored:
      return 0;
    case WeightFormat::kW7A8:
      return 2 + 32;
    case WeightFormat::kW8A16:
      return 2 + 64;
    case WeightFormat::kW4A8:
      return 1 + 4 + 32;
  }
  return 0;
}

constexpr int64_t RowWords(WeightFormat format, int64_t in) {
  return format == WeightFormat::kAsStored ? in : NumSuperblocks(in) * RecordWords(format);
}

// Multiply-adds a cycle relative to float32's, roughly.
constexpr double ProductRate(WeightFormat format) {
  switch (format) {
    case WeightFormat::kAsStored:
      return 1;
    case WeightFormat::kW7A8:
      return 2;
    case WeightFormat::kW8A16:
      return 1.6;
    case WeightFormat::kW4A8:
      return 2.5;
  }
  return 1;
}

// `x` itself for weights as stored, else its rows as records in `memory`.
ConstHostMatrix RowsFor(WeightFormat format, ConstHostMatrix x, ThreadPool* pool,
                        GrowingHostMatrix* memory);

}  // namespace vl2
