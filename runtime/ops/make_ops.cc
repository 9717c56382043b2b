#include "runtime/ops/make_ops.h"

#include "runtime/base/status.h"

namespace vl2 {

absl::StatusOr<std::unique_ptr<Ops>> MakeOps(std::string_view name, ThreadPool* pool) {
  if (name == "ref") return MakeRefOps();
  if (name == "cpu") return MakeCpuOps(pool);
  return InvalidArgument("ops \"", name, "\" is not one of ref, cpu");
}

}  // namespace vl2
