// Rows that come into a batch and leave it.
//
//   Embed      rows of a table by the batch's token ids      torch.nn.Embedding
//   WriteRows  vectors of the host (an image's embeddings) into rows
//   TakeRows   the rows whose logits are wanted, one after the other
#pragma once

#include <cstdint>

#include "runtime/ops/batch.h"
#include "runtime/tensor/device_tensor.h"
#include "runtime/tensor/matrix.h"

namespace vl2 {

// Checked: the table is bfloat16 or float32 and holds the batch's vocabulary; out is
// [tokens, hidden].
struct EmbedArgs {
  const DeviceTensor* table = nullptr;  // [vocab, hidden]
  const Batch* batch = nullptr;
  Matrix out;  // [tokens, hidden]
};

// Checked: equal shapes.
struct WriteRowsArgs {
  ConstHostMatrix values;  // [rows, cols]
  Matrix out;              // [rows, cols]
};

// Checked: x has the batch's rows, out one for each of its logit_rows; they do not overlap.
struct TakeRowsArgs {
  ConstMatrix x;  // [tokens, cols]
  const Batch* batch = nullptr;
  Matrix out;  // [logit_rows, cols]
};

}  // namespace vl2
