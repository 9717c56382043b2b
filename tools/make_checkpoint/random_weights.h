// Random values for the tensors of a checkpoint, scaled so that activations stay of order one
// through all layers and experts are chosen evenly.
//
// A value depends on the seed, the tensor's name and its index only: not on threads or order.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/checkpoint/config.h"
#include "runtime/checkpoint/manifest.h"

namespace vl2 {

// Values are mean + stddev · (about normal).
struct WeightDistribution {
  float mean = 0;
  float stddev = 0;
};
WeightDistribution DistributionOf(const TensorSpec& spec, const ModelConfig& config);

// Elements [first, first + out.size()) of a tensor whose name hashes to `stream`.
void FillRandom(uint64_t stream, int64_t first, WeightDistribution distribution,
                std::span<float> out);

// Seed and name to a stream.
uint64_t StreamOf(uint64_t seed, std::string_view tensor_name);

}  // namespace vl2
