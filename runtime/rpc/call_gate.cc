#include "runtime/rpc/call_gate.h"

namespace vl2 {

absl::Status CallGate::Enter() {
  MutexLock lock(&mutex_);
  if (closed_) return absl::UnavailableError("this replica is draining");
  ++num_inside_;
  return absl::OkStatus();
}

void CallGate::Leave() {
  MutexLock lock(&mutex_);
  if (--num_inside_ == 0) left_.NotifyAll();
}

void CallGate::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
}

bool CallGate::WaitEmpty(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(&mutex_);
  while (num_inside_ > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    left_.WaitUntil(&mutex_, deadline);
  }
  return true;
}

v1::ModelInfo::State CallGate::state() const {
  MutexLock lock(&mutex_);
  return closed_ ? v1::ModelInfo::STATE_DRAINING : v1::ModelInfo::STATE_SERVING;
}

void CallGate::AddState(grpc::ServerContextBase& context) const {
  context.AddTrailingMetadata(kStateKey,
                              state() == v1::ModelInfo::STATE_DRAINING ? kDraining : kServing);
}

}  // namespace vl2
