// MakeRoundingOps: a backend whose results are rounded to bfloat16 after every operation, for a
// look at what bfloat16 activations would do to a model. Arithmetic inside an operation stays as it
// is. The router stays in float32, as published. Needs a device that the host may read.
#pragma once

#include <memory>

#include "runtime/ops/ops.h"

namespace vl2 {

std::unique_ptr<Ops> MakeRoundingOps(std::unique_ptr<Ops> inner);

}  // namespace vl2
