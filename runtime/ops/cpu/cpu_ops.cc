#include "runtime/ops/cpu/cpu_ops.h"

namespace vl2 {

CpuOps::CpuOps(ThreadPool* pool) : pool_(pool), matmul_(pool), attention_(pool->num_threads()) {}

std::unique_ptr<Ops> MakeCpuOps(ThreadPool* pool) { return std::make_unique<CpuOps>(pool); }

}  // namespace vl2
