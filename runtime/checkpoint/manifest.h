// The tensors that a checkpoint of a given configuration holds: names, shapes. One list serves the
// loader's check (missing, surplus, misshapen) and the writer of random checkpoints.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/config.h"
#include "runtime/tensor/tensor.h"

namespace vl2 {

struct TensorSpec {
  std::string name;
  Shape shape;
};

// In the order of the model: vision, projector, separators, language.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

// The unused pooling head of the tower, `vision.attn_pool.*`, as the published files hold it.
std::vector<TensorSpec> UnusedPoolingTensors(const ModelConfig& config);

// Tensors that a file may hold beside the expected ones and that are not read: the pooling head and
// rotary buffers saved by old versions.
bool IsIgnoredTensor(std::string_view name);

}  // namespace vl2
