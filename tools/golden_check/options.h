// What golden_check is asked to do; filled from flags in main.cc and by tests.
#pragma once

#include <cstdint>
#include <string>

namespace vl2 {

struct GoldenOptions {
  std::string dir;
  std::string ops = "cpu";          // ref or cpu
  std::string activations = "f32";  // f32, or bf16 (reported only)
  int64_t chunk = 0;                // prompt tokens per prefill chunk; 0: the whole prompt at once
  int64_t batch = 1;                // sequences that run together: the case and batch - 1 others
  int num_threads = 0;              // 0: as many as the machine has
  // Run only items whose name contains this.
  std::string filter = {};
};

}  // namespace vl2
