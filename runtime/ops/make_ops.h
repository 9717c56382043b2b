// The backends by name.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "runtime/ops/ref/make_ref_ops.h"

namespace vl2 {

// "ref" or "cpu". `pool` must outlive the result.
absl::StatusOr<std::unique_ptr<Ops>> MakeOps(std::string_view name, ThreadPool* pool);

}  // namespace vl2
