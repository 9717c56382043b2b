// MakeRefOps: the oracle; single-threaded.
#pragma once

#include <memory>

#include "runtime/ops/ops.h"

namespace vl2 {

std::unique_ptr<Ops> MakeRefOps(Device& device = HostMemory());

}  // namespace vl2
