// What golden_check is asked to do; filled from flags in main.cc and by tests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/ops.h"

namespace vl2 {

struct GoldenOptions {
  std::string dir;
  std::string ops = "cpu";  // ref or cpu
  // Instead of `ops`, where it is set.
  std::function<std::unique_ptr<Ops>(ThreadPool* pool)> make_ops = {};
  std::string activations = "f32";  // f32, or bf16 (reported only)
  int64_t chunk = 0;                // prompt tokens per prefill chunk; 0: the whole prompt at once
  int64_t batch = 1;                // sequences that run together: the case and batch - 1 others
  int num_threads = 0;              // 0: as many as the machine has
  // Run only items whose name contains this.
  std::string filter = {};
};

}  // namespace vl2
