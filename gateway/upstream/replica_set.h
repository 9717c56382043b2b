// ReplicaSet: the replicas of one service. Resolves names to addresses again and again, keeps a
// channel to each, asks each for its GetModelInfo, and picks one for a request.
//
// A replica takes part once it has answered GetModelInfo, until a probe or a request finds it
// unreachable. It comes back with the next answer. One that is merely late goes on; one that stays
// silent while another answers is taken for hung, and its calls are told.
//
// Owns: channels, and a thread that resolves and probes. Threading: thread-safe.
// Errors: UNAVAILABLE when there is no replica to pick.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "runtime/base/mutex.h"
#include "vl2/v1/model.pb.h"

namespace vl2::gateway {

class ReplicaLease;

// One address of a service.
struct Replica {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  std::atomic<int64_t> outstanding{0};
  std::atomic<bool> healthy{false};
  Mutex mutex;
  std::map<const ReplicaLease*, std::function<void()>> when_hung ABSL_GUARDED_BY(mutex);
};

// A request that is under way at a replica.
class ReplicaLease {
 public:
  // `num_leases` outlives this.
  ReplicaLease(std::shared_ptr<Replica> replica, std::atomic<int64_t>* num_leases)
      : replica_(std::move(replica)), num_leases_(num_leases) {
    ++replica_->outstanding;
    ++*num_leases_;
  }
  ~ReplicaLease() {
    {
      MutexLock lock(&replica_->mutex);
      replica_->when_hung.erase(this);
    }
    --replica_->outstanding;
    --*num_leases_;  // last: the set may go away now
  }
  ReplicaLease(const ReplicaLease&) = delete;
  ReplicaLease& operator=(const ReplicaLease&) = delete;
  Replica& replica() const { return *replica_; }
  // `call` may come once or more, by the set's thread, also a moment after this has gone; it must
  // not block.
  void WhenHung(std::function<void()> call) {
    MutexLock lock(&replica_->mutex);
    replica_->when_hung[this] = std::move(call);
  }

 private:
  const std::shared_ptr<Replica> replica_;
  std::atomic<int64_t>* const num_leases_;
};

struct ReplicaSetOptions {
  std::string service;  // for messages: "language", "vision"
  // Comma-separated host:port; a host name stands for all of its addresses.
  std::string targets;
  std::chrono::milliseconds probe_interval{1000};
  std::chrono::milliseconds resolve_interval{5000};
  std::chrono::milliseconds probe_timeout{3000};
  // Probes in a row that get no answer before a replica is taken for hung.
  int max_late_probes = 3;
  // All addresses of a host as "address:port"; empty: the system's resolver.
  std::function<absl::StatusOr<std::set<std::string>>(const std::string& host, int port)> resolve;

  absl::Status Validate() const;
};

// What is known of one address.
struct ReplicaState {
  std::string address;
  bool healthy = false;
  std::string failure;  // why it is not healthy
  int64_t num_outstanding = 0;
  std::optional<v1::ModelInfo> info;  // its last answer
};

class ReplicaSet {
 public:
  // Asks one replica, blocking, at most `timeout`.
  using Probe = std::function<absl::StatusOr<v1::ModelInfo>(const std::shared_ptr<grpc::Channel>&,
                                                            std::chrono::milliseconds timeout)>;

  // INVALID_ARGUMENT for targets that are not addresses.
  static absl::StatusOr<std::unique_ptr<ReplicaSet>> Start(const ReplicaSetOptions& options,
                                                           Probe probe);
  // Waits for all leases to end.
  ~ReplicaSet();

  absl::StatusOr<std::shared_ptr<ReplicaLease>> Pick(const std::vector<std::string>& avoid,
                                                     std::optional<uint64_t> affinity);
  // A request could not reach it: out until a probe succeeds.
  void ReportUnreachable(Replica& replica);

  // What the healthy replicas said; by address.
  std::map<std::string, v1::ModelInfo> infos() const;
  // All addresses, healthy or not; by address.
  std::vector<ReplicaState> states() const;
  // OK when there is a healthy replica; otherwise why not.
  absl::Status status() const;
  int64_t num_outstanding() const { return num_leases_; }
  int num_replicas() const;

 private:
  struct Target {
    std::string host;
    int port = 0;
  };
  struct Known {
    std::shared_ptr<Replica> replica;
    std::optional<v1::ModelInfo> info;  // set before the replica is healthy
    std::string failure = "not probed yet";
    int num_late = 0;  // probes in a row without an answer
  };

  ReplicaSet(const ReplicaSetOptions& options, Probe probe);
  void Run();
  void Resolve();
  void ProbeAll();
  void TakeProbe(const std::shared_ptr<Replica>& replica, absl::StatusOr<v1::ModelInfo> info);
  // Whether somebody else could do its work.
  bool OthersAnswer(const Replica& replica) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ReplicaSetOptions options_;
  const Probe probe_;
  std::vector<Target> targets_;

  std::atomic<int64_t> num_leases_{0};
  mutable Mutex mutex_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool probe_soon_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, Known> known_ ABSL_GUARDED_BY(mutex_);
  std::string resolve_failure_ ABSL_GUARDED_BY(mutex_);
  uint64_t turn_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace vl2::gateway
