// WriteShards: tensors to safetensors files of a limited size and their index, piece by piece, so
// that none has to be in memory.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/base/thread_pool.h"
#include "runtime/tensor/tensor.h"
#include "runtime/weight_format/weight_policy.h"

namespace vl2 {

// Gets bytes written and bytes in all.
using WriteProgress = std::function<void(int64_t, int64_t)>;

struct OutTensor {
  std::string name;
  DType dtype = DType::kBF16;
  Shape shape;
  // Writes all of the tensor's bytes, by calls of `put`.
  using Put = std::function<void(const void* bytes, int64_t count)>;
  std::function<void(const Put& put)> write;

  int64_t num_bytes() const { return shape.num_elements() * static_cast<int64_t>(SizeOf(dtype)); }
};

// Creates `folder` (its parent must exist); an empty one that is there will do. ALREADY_EXISTS for
// anything else, so nothing is overwritten.
absl::Status PrepareFolder(const std::string& folder);

absl::Status WriteText(const std::string& path, const std::string& text);

// Writes model-…-of-….safetensors and model.safetensors.index.json. In each shard packed weights
// (U8) come first, so that they begin at multiples of 64 bytes.
absl::Status WriteShards(const std::string& folder, std::vector<OutTensor> tensors,
                         int64_t max_shard_bytes, const WriteProgress& progress);

// The tensor that holds a matrix [out, in] packed in `format`; `fill` gives 16 rows at a time
// (fewer at the end), `in` values of `dtype` each.
OutTensor PackedTensor(
    const std::string& name, const Shape& matrix, WeightFormat format, DType dtype,
    ThreadPool& pool,
    std::function<void(int64_t first_row, int64_t num_rows, std::byte* rows)> fill);

}  // namespace vl2
