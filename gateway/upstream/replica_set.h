// ReplicaSet: the replicas of one service. Resolves names to addresses again and again, keeps a
// channel to each, asks each for its GetModelInfo, and picks one for a request.
//
// A replica takes part once GetModelInfo says that it serves, until it says otherwise (it drains)
// or a probe or a request finds it unreachable. It comes back with the next answer. One that is
// merely late goes on; one that stays silent while another answers is taken for hung, and its calls
// are told. Two addresses of one process (its two IP families) are one replica.
//
// Owns: channels, a thread that resolves and one that probes, so that a silent name server holds up
// no probe. Threading: thread-safe. Errors: UNAVAILABLE when there is no replica to pick.
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
#include "runtime/rpc/replica_channel.h"
#include "vl2/v1/model.pb.h"

namespace vl2::gateway {

class ReplicaLease;

enum class ReplicaHealth { kGone, kLoading, kServing, kDraining };
inline constexpr ReplicaHealth kReplicaHealths[] = {ReplicaHealth::kGone, ReplicaHealth::kLoading,
                                                    ReplicaHealth::kServing,
                                                    ReplicaHealth::kDraining};
const char* NameOf(ReplicaHealth health);

// One address of a service.
struct Replica {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  std::atomic<int64_t> outstanding{0};
  std::atomic<ReplicaHealth> health{ReplicaHealth::kGone};
  Mutex mutex;
  std::map<const ReplicaLease*, std::function<void()>> when_hung ABSL_GUARDED_BY(mutex);
};

// A request that is under way at a replica.
class ReplicaLease {
 public:
  // `num_leases` outlives this.
  ReplicaLease(std::shared_ptr<Replica> replica, std::string pool, std::atomic<int64_t>* num_leases)
      : replica_(std::move(replica)), pool_(std::move(pool)), num_leases_(num_leases) {
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
  // PoolOf what the replica said of itself.
  const std::string& pool() const { return pool_; }
  // `call` may come once or more, by the set's thread, also a moment after this has gone; it must
  // not block.
  void WhenHung(std::function<void()> call) {
    MutexLock lock(&replica_->mutex);
    replica_->when_hung[this] = std::move(call);
  }

 private:
  const std::shared_ptr<Replica> replica_;
  const std::string pool_;
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
  // The calls that a replica works on, by its own account; other gateways' are among them. Empty:
  // not asked for.
  std::function<int64_t(const v1::ModelInfo&)> load;
  ReplicaSecurity security = {};  // of the channels

  absl::Status Validate() const;
};

// What is known of one address.
struct ReplicaState {
  std::string address;
  ReplicaHealth health = ReplicaHealth::kGone;
  std::string failure;  // why it does not serve
  int64_t num_outstanding = 0;
  std::optional<v1::ModelInfo> info;  // its last answer
};

// Which replica a request may go to.
struct ReplicaQuery {
  std::string model_id = "";            // empty: any
  std::string pool = "";                // PoolOf; empty: any
  std::vector<std::string> avoid = {};  // used only when no other is left
  std::optional<uint64_t> affinity = std::nullopt;
};

// Replicas of one pool compute the same bits: model, weights' type and kind of device are equal.
std::string PoolOf(const v1::ModelInfo& info);

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

  absl::StatusOr<std::shared_ptr<ReplicaLease>> Pick(const ReplicaQuery& query);
  // A request could not reach it: out until a probe succeeds.
  void ReportUnreachable(Replica& replica) { Report(replica, ReplicaHealth::kGone); }
  // It refused a request because it drains.
  void ReportDraining(Replica& replica) { Report(replica, ReplicaHealth::kDraining); }

  // What the replicas that serve said; by address.
  std::map<std::string, v1::ModelInfo> infos() const;
  // All addresses, whether they serve or not; by address.
  std::vector<ReplicaState> states() const;
  // OK when there is a replica that serves; otherwise why not.
  absl::Status status() const;
  int64_t num_outstanding() const { return num_leases_; }
  int num_replicas(ReplicaHealth health = ReplicaHealth::kServing) const;
  int64_t num_resolve_failures() const { return num_resolve_failures_; }

 private:
  struct Target {
    std::string host;
    int port = 0;
  };
  struct Known {
    std::shared_ptr<Replica> replica;
    std::optional<v1::ModelInfo> info;  // set before the replica serves
    std::string pool;                   // PoolOf(info)
    std::string failure = "not probed yet";
    int num_late = 0;        // probes in a row without an answer
    int64_t other_load = 0;  // calls that are not of this gateway, at its last answer
  };
  // What the resolving thread shares with its set, which may go while a name server is silent.
  struct Life {
    Mutex mutex;
    CondVar changed;
    bool stopped ABSL_GUARDED_BY(mutex) = false;
    bool ended ABSL_GUARDED_BY(mutex) = false;
  };
  using Found = absl::StatusOr<std::set<std::string>>;

  ReplicaSet(const ReplicaSetOptions& options, Probe probe);
  // Touches the set only while life->mutex is held and `stopped` is not set.
  static void ResolveLoop(ReplicaSet* set, std::shared_ptr<Life> life, ReplicaSetOptions options,
                          std::vector<Target> targets);
  void TakeAddresses(const std::vector<Found>& found);
  void ProbeLoop();
  void ProbeAll();
  void Report(Replica& replica, ReplicaHealth health);
  // Those that serve, one for each process, in order of their addresses.
  std::vector<const Known*> Serving() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static std::string FailureOf(const Known& known);
  absl::Status WhyNone(const std::string& what) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
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
  std::atomic<int64_t> num_resolve_failures_{0};
  const std::shared_ptr<Life> life_ = std::make_shared<Life>();
  std::thread resolve_thread_;
  std::thread probe_thread_;
};

}  // namespace vl2::gateway
