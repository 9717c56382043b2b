#include "runtime/rpc/service_health.h"

#include <utility>

#include "runtime/base/status.h"

namespace vl2 {

void ServiceHealth::AddCheck(std::function<absl::Status()> check) {
  MutexLock lock(&mutex_);
  checks_.push_back(std::move(check));
}

absl::Status ServiceHealth::Ready() const {
  switch (state()) {
    case State::kLoading:
      return absl::UnavailableError(
          Cat("loading, ", static_cast<int>(100 * load_progress()), "% of the weights are there"));
    case State::kDraining:
      return absl::UnavailableError("shutting down");
    case State::kServing:
      break;
  }
  return absl::OkStatus();
}

absl::Status ServiceHealth::Live() const {
  MutexLock lock(&mutex_);
  for (const auto& check : checks_) VL2_RETURN_IF_ERROR(check());
  return absl::OkStatus();
}

absl::Status StallCheck::Check(bool has_work, int64_t num_done, Clock::time_point now) {
  MutexLock lock(&mutex_);
  if (!has_work || num_done != num_done_) {
    num_done_ = num_done;
    since_ = now;
    return absl::OkStatus();
  }
  if (now - since_ < timeout_) return absl::OkStatus();
  const auto stalled = std::chrono::duration_cast<std::chrono::seconds>(now - since_);
  return absl::UnavailableError(
      Cat("there is work and no ", what_, " has ended for ", stalled.count(), " s"));
}

}  // namespace vl2
