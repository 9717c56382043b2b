// CallGate: counts the calls that a service works on, and turns new ones away once it drains.
//
// A gRPC server that shuts down refuses every new call, those too that its running calls wait for:
// embeddings for a sequence, the question whether the replica is still there. So a service that
// drains closes this gate, goes on answering the rest, and shuts its server down when it is empty.
//
// A call that the service itself ends carries its state in trailing metadata (kStateKey). Without
// it a caller that hears UNAVAILABLE knows that the transport failed.
//
// Threading: thread-safe.
#pragma once

#include <chrono>
#include <cstdint>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "runtime/base/mutex.h"
#include "vl2/v1/model.pb.h"

namespace vl2 {

class CallGate {
 public:
  static constexpr char kStateKey[] = "vl2-state";  // trailing metadata
  static constexpr char kServing[] = "serving";     // its values
  static constexpr char kDraining[] = "draining";

  // UNAVAILABLE when closed. After OK, Leave() follows.
  absl::Status Enter();
  void Leave();

  // From now on Enter() fails.
  void Close();
  // Returns when nobody is inside, or after `timeout`: false.
  bool WaitEmpty(std::chrono::milliseconds timeout);

  v1::ModelInfo::State state() const;
  // To be called before the call's status is sent.
  void AddState(grpc::ServerContextBase& context) const;

 private:
  mutable Mutex mutex_;
  CondVar left_;
  int64_t num_inside_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vl2
