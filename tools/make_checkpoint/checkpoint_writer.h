// WriteRandomCheckpoint: a folder laid out like a published checkpoint, with seeded random weights,
// written straight to disk piece by piece.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "runtime/base/json.h"
#include "runtime/base/thread_pool.h"
#include "runtime/tensor/dtype.h"
#include "runtime/weight_format/weight_policy.h"

namespace vl2 {

struct RandomCheckpointOptions {
  Json config;                                     // config.json, complete
  DType dtype = DType::kBF16;                      // kBF16 or kF32
  WeightPolicy weights = WeightPolicy::kAsStored;  // others: packed, as tools/quantize writes
  uint64_t seed = 1;
  int64_t max_shard_bytes = int64_t{2} << 30;
};

// Creates `out` (its parent must exist) or writes into it when it is an empty folder; anything else
// there is an error, nothing is overwritten. `progress` gets bytes written and bytes in all.
absl::Status WriteRandomCheckpoint(const RandomCheckpointOptions& options, const std::string& out,
                                   ThreadPool& pool,
                                   const std::function<void(int64_t, int64_t)>& progress);

}  // namespace vl2
