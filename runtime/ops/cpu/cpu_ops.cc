#include "runtime/ops/cpu/cpu_ops.h"

#include "runtime/ops/cpu/make_cpu_ops.h"

namespace vl2 {

CpuOps::CpuOps(ThreadPool* pool, Device& device)
    : HostOps(device), pool_(pool), matmul_(pool), attention_(pool->num_threads()) {}

std::unique_ptr<Ops> MakeCpuOps(ThreadPool* pool, Device& device) {
  return std::make_unique<CpuOps>(pool, device);
}

}  // namespace vl2
