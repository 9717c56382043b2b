#include "vision_service/image/decode_meter.h"

#include <ctime>

#include "runtime/base/status.h"

namespace vl2 {

DecodeMeter::DecodeMeter(int64_t max_cpu_ms, const std::atomic<bool>* abandoned)
    : max_cpu_ms_(max_cpu_ms), begin_ns_(ThreadCpuNs()), abandoned_(abandoned) {}

absl::Status DecodeMeter::Check() {
  if (!status_.ok()) return status_;
  if (abandoned_ != nullptr && abandoned_->load(std::memory_order_relaxed)) {
    status_ = absl::CancelledError("nobody waits for the picture");
  } else if (max_cpu_ms_ > 0) {
    const int64_t used_ms = (ThreadCpuNs() - begin_ns_) / 1'000'000;
    if (used_ms > max_cpu_ms_) {
      status_ = InvalidArgument("decoding the picture took ", used_ms,
                                " ms of processor time and is not done, the limit is ", max_cpu_ms_,
                                " ms");
    }
  }
  return status_;
}

int64_t DecodeMeter::ThreadCpuNs() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace vl2
