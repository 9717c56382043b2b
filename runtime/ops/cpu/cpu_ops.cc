#include "runtime/ops/ops.h"

namespace vl2 {

// Until the fast bodies land.
std::unique_ptr<Ops> MakeCpuOps(ThreadPool*) { return MakeRefOps(); }

}  // namespace vl2
