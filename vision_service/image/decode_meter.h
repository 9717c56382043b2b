// DecodeMeter: the work that one picture may take, and whether anybody still wants it.
//
// Decoders ask it every few rows and every few kilobytes of input, so that a file that costs far
// more than its size promises ends soon, and so does one whose caller has left. Processor time is
// that of the calling thread since the construction: a busy machine does not refuse good pictures.
//
// Threading: one thread, which constructs it and decodes.
// Errors: INVALID_ARGUMENT with the limit; CANCELLED. The first error is given ever after.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"

namespace vl2 {

class DecodeMeter {
 public:
  // Without limit.
  DecodeMeter() = default;
  // `max_cpu_ms` of this thread's processor time; 0: no limit. `abandoned` may be set by any thread
  // at any time and outlives this; nullptr: never.
  DecodeMeter(int64_t max_cpu_ms, const std::atomic<bool>* abandoned);

  absl::Status Check();

 private:
  static int64_t ThreadCpuNs();

  int64_t max_cpu_ms_ = 0;
  int64_t begin_ns_ = 0;
  const std::atomic<bool>* abandoned_ = nullptr;
  absl::Status status_;
};

}  // namespace vl2
