// MakeCpuOps: the fast backend on the CPU.
#pragma once

#include <memory>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/ops.h"

namespace vl2 {

// `pool` must outlive the result, and is used only inside its methods. `device`: memory that the
// CPU may use inside them; the host's own but for tests.
std::unique_ptr<Ops> MakeCpuOps(ThreadPool* pool, Device& device = HostMemory());

}  // namespace vl2
