// The generated rows of a batch of latent attention, and where their intermediate results lie.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/ops/attention.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

struct LatentRow {
  int32_t row = 0;  // of the batch
  int32_t sequence = 0;
  int64_t position = 0;
  int64_t first_block = 0;  // its first row in the partial results
};

struct LatentBatch {
  static constexpr int64_t kMaxHeads = 256;

  const LatentAttentionArgs* args = nullptr;
  std::vector<LatentRow> rows;
  bool split = false;             // a row's blocks are spread over threads
  int64_t query_stride = 0;       // floats of one head's query
  int64_t out_stride = 0;         // floats of one head's latent output
  HostMatrix absorbed;            // [rows, heads · query_stride]
  HostMatrix latent_out;          // [rows, heads · out_stride]
  HostMatrix partial_out;         // split: [blocks, heads · out_stride]
  HostMatrix partial_statistics;  // split: [blocks, 2 · heads rounded up]: maxima, sums

  float* Absorbed(int64_t index, int64_t head) const {
    return absorbed.row(index) + head * query_stride;
  }
  float* LatentOut(int64_t index, int64_t head) const {
    return latent_out.row(index) + head * out_stride;
  }
  float* PartialOut(const LatentRow& row, int64_t block, int64_t head) const {
    return partial_out.row(row.first_block + block) + head * out_stride;
  }
  float* PartialStatistics(const LatentRow& row, int64_t block) const {
    return partial_statistics.row(row.first_block + block);
  }
};

}  // namespace vl2
