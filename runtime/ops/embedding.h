// Embed: rows of a table by token id. Source: torch.nn.Embedding.
#pragma once

#include <cstdint>

#include "runtime/tensor/matrix.h"
#include "runtime/tensor/tensor.h"

namespace vl2 {

// Checked: table is [vocab, hidden], bfloat16 or float32; 0 <= id < vocab; out is [tokens, hidden].
struct EmbedArgs {
  TensorView table;              // [vocab, hidden]
  const int32_t* ids = nullptr;  // [tokens]
  Matrix out;                    // [tokens, hidden]
};

}  // namespace vl2
