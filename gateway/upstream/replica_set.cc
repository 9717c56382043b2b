#include "gateway/upstream/replica_set.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "gateway/upstream/endpoint_picker.h"
#include "runtime/base/error_details.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2::gateway {
namespace {

using Clock = std::chrono::steady_clock;

const char* const kCallFailed = "a call failed";

// All addresses of host as "address:port".
absl::StatusOr<std::set<std::string>> Lookup(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) return absl::UnavailableError(Cat(host, ": ", gai_strerror(error)));
  std::set<std::string> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof(text), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      addresses.insert(HostPort{text, port}.ToString());
    }
  }
  freeaddrinfo(found);
  return addresses;
}

ReplicaHealth HealthOf(const v1::ModelInfo& info) {
  switch (info.state()) {
    case v1::ModelInfo::STATE_LOADING:
      return ReplicaHealth::kLoading;
    case v1::ModelInfo::STATE_DRAINING:
      return ReplicaHealth::kDraining;
    default:
      return ReplicaHealth::kServing;
  }
}

void LogChange(const std::string& service, const std::string& reason, const Replica& replica) {
  const ReplicaHealth health = replica.health;
  Log(health == ReplicaHealth::kGone ? Severity::kWarning : Severity::kInfo,
      health == ReplicaHealth::kServing ? "replica is there"
      : health == ReplicaHealth::kGone  ? "replica is gone"
                                        : Cat("replica is ", NameOf(health)),
      {{"service", service}, {"address", replica.address}, {"reason", reason}});
}

}  // namespace

const char* NameOf(ReplicaHealth health) {
  switch (health) {
    case ReplicaHealth::kGone:
      return "gone";
    case ReplicaHealth::kLoading:
      return "loading";
    case ReplicaHealth::kServing:
      return "serving";
    case ReplicaHealth::kDraining:
      return "draining";
  }
  return "unknown";
}

std::string PoolOf(const v1::ModelInfo& info) {
  const std::string kind = info.device().substr(0, info.device().find(' '));
  return Cat(info.model_id(), "/", info.weight_dtype(), "/", kind);
}

absl::Status ReplicaSetOptions::Validate() const {
  for (const auto& [name, value] : {std::pair("probe_interval", probe_interval),
                                    std::pair("resolve_interval", resolve_interval),
                                    std::pair("probe_timeout", probe_timeout)}) {
    if (value.count() < 1 || value.count() > 3'600'000) {
      return InvalidArgument(name, " of ", value.count(), " ms is outside [1, 3600000]");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ReplicaSet>> ReplicaSet::Start(const ReplicaSetOptions& options,
                                                              Probe probe) {
  VL2_RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<ReplicaSet> set(new ReplicaSet(options, std::move(probe)));
  std::stringstream list(options.targets);
  for (std::string text; std::getline(list, text, ',');) {
    text.erase(0, text.find_first_not_of(' '));
    text.erase(text.find_last_not_of(' ') + 1);
    if (text.empty()) continue;
    VL2_ASSIGN_OR_RETURN(const HostPort target, ParseHostPort(text));
    set->targets_.push_back({target.host, target.port});
  }
  if (set->targets_.empty()) {
    return InvalidArgument("no address is given for the ", options.service, " service");
  }
  set->resolve_thread_ =
      std::thread(&ReplicaSet::ResolveLoop, set.get(), set->life_, set->options_, set->targets_);
  set->probe_thread_ = std::thread([raw = set.get()] { raw->ProbeLoop(); });
  return set;
}

ReplicaSet::ReplicaSet(const ReplicaSetOptions& options, Probe probe)
    : options_(options), probe_(std::move(probe)) {}

ReplicaSet::~ReplicaSet() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  wake_.NotifyAll();
  if (probe_thread_.joinable()) probe_thread_.join();
  if (resolve_thread_.joinable()) {
    MutexLock lock(&life_->mutex);
    life_->stopped = true;
    life_->changed.NotifyAll();
    // A name server that is silent is not waited for.
    const auto until = Clock::now() + std::chrono::seconds(1);
    while (!life_->ended && Clock::now() < until) life_->changed.WaitUntil(&life_->mutex, until);
    resolve_thread_.detach();
  }
  // Calls that were cancelled a moment ago still report their end here.
  while (num_leases_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void ReplicaSet::ResolveLoop(ReplicaSet* set, std::shared_ptr<Life> life, ReplicaSetOptions options,
                             std::vector<Target> targets) {
  for (;;) {
    std::vector<Found> found;
    for (const Target& target : targets) {
      found.push_back(options.resolve ? options.resolve(target.host, target.port)
                                      : Lookup(target.host, target.port));
    }
    MutexLock lock(&life->mutex);
    if (!life->stopped) set->TakeAddresses(found);
    const auto next = Clock::now() + options.resolve_interval;
    while (!life->stopped && Clock::now() < next) life->changed.WaitUntil(&life->mutex, next);
    if (!life->stopped) continue;
    life->ended = true;
    life->changed.NotifyAll();
    return;
  }
}

void ReplicaSet::ProbeLoop() {
  for (;;) {
    ProbeAll();
    MutexLock lock(&mutex_);
    const auto until = Clock::now() + options_.probe_interval;
    const auto soon = Clock::now() + options_.probe_interval / 10;
    while (!stop_ && Clock::now() < (probe_soon_ ? soon : until)) {
      wake_.WaitUntil(&mutex_, probe_soon_ ? soon : until);
    }
    probe_soon_ = false;
    if (stop_) return;
  }
}

void ReplicaSet::TakeAddresses(const std::vector<Found>& found) {
  std::set<std::string> addresses;
  std::string failure;
  for (const Found& each : found) {
    if (each.ok()) {
      addresses.insert(each->begin(), each->end());
    } else {
      failure = Message(each.status());
    }
  }
  if (!failure.empty()) ++num_resolve_failures_;
  bool has_new = false;
  {
    MutexLock lock(&mutex_);
    resolve_failure_ = failure;
    // A name server that fails takes no replica away.
    if (failure.empty()) {
      std::erase_if(known_, [&](const auto& entry) { return !addresses.contains(entry.first); });
    }
    for (const std::string& address : addresses) {
      Known& known = known_[address];
      if (known.replica != nullptr) continue;
      known.replica = std::make_shared<Replica>();
      known.replica->address = address;
      known.replica->channel = MakeReplicaChannel(address, options_.security);
      has_new = true;
    }
    probe_soon_ = probe_soon_ || has_new;
  }
  if (has_new) wake_.NotifyAll();
}

void ReplicaSet::ProbeAll() {
  std::vector<std::shared_ptr<Replica>> replicas;
  {
    MutexLock lock(&mutex_);
    for (const auto& [address, known] : known_) replicas.push_back(known.replica);
  }
  // Side by side: one that does not answer must not delay the others.
  std::vector<std::thread> threads;
  for (const auto& replica : replicas) {
    threads.emplace_back(
        [this, replica] { TakeProbe(replica, probe_(replica->channel, options_.probe_timeout)); });
  }
  for (std::thread& thread : threads) thread.join();
}

void ReplicaSet::TakeProbe(const std::shared_ptr<Replica>& replica,
                           absl::StatusOr<v1::ModelInfo> info) {
  std::vector<std::function<void()>> when_hung;
  {
    MutexLock lock(&mutex_);
    const auto it = known_.find(replica->address);
    if (it == known_.end() || it->second.replica != replica) return;
    Known& known = it->second;
    known.num_late = absl::IsDeadlineExceeded(info.status()) ? known.num_late + 1 : 0;
    if (known.num_late > 0 && replica->health != ReplicaHealth::kGone) {
      // A busy replica answers late and is no lost one; a lost one's connection breaks.
      if (known.num_late < options_.max_late_probes || !OthersAnswer(*replica)) return;
      MutexLock replica_lock(&replica->mutex);
      for (const auto& [lease, call] : replica->when_hung) when_hung.push_back(call);
    }
    const ReplicaHealth health = info.ok() ? HealthOf(*info) : ReplicaHealth::kGone;
    known.failure = !info.ok()                          ? Message(info.status())
                    : health == ReplicaHealth::kServing ? ""
                                                        : Cat("it is ", NameOf(health));
    if (info.ok()) {
      known.pool = PoolOf(*info);
      known.other_load = 0;
      if (options_.load) {
        known.other_load = std::max<int64_t>(0, options_.load(*info) - replica->outstanding);
      }
      known.info = *std::move(info);
    }
    if (replica->health.exchange(health) != health)
      LogChange(options_.service, known.failure, *replica);
  }
  for (const auto& call : when_hung) call();
}

bool ReplicaSet::OthersAnswer(const Replica& replica) const {
  return std::any_of(known_.begin(), known_.end(), [&](const auto& entry) {
    return entry.second.replica.get() != &replica &&
           entry.second.replica->health == ReplicaHealth::kServing && entry.second.num_late == 0;
  });
}

std::vector<const ReplicaSet::Known*> ReplicaSet::Serving() const {
  std::vector<const Known*> serving;
  std::set<std::string> processes;
  for (const auto& [address, known] : known_) {
    if (known.replica->health != ReplicaHealth::kServing) continue;
    const std::string& process = known.info->instance_id();
    if (process.empty() || processes.insert(process).second) serving.push_back(&known);
  }
  return serving;
}

absl::StatusOr<std::shared_ptr<ReplicaLease>> ReplicaSet::Pick(const ReplicaQuery& query) {
  std::vector<EndpointLoad> loads;
  std::vector<const Known*> candidates;
  MutexLock lock(&mutex_);
  for (const Known* known : Serving()) {
    if (!query.model_id.empty() && known->info->model_id() != query.model_id) continue;
    if (!query.pool.empty() && known->pool != query.pool) continue;
    loads.push_back({known->replica->address, known->replica->outstanding + known->other_load});
    candidates.push_back(known);
  }
  if (const auto index = PickEndpoint(loads, query.avoid, query.affinity, turn_++)) {
    const Known& known = *candidates[*index];
    return std::make_shared<ReplicaLease>(known.replica, known.pool, &num_leases_);
  }
  return WhyNone(!query.pool.empty()       ? Cat(" with ", query.pool)
                 : !query.model_id.empty() ? Cat(" with model ", query.model_id)
                                           : "");
}

void ReplicaSet::Report(Replica& replica, ReplicaHealth health) {
  if (replica.health.exchange(health) == health) return;
  LogChange(options_.service, health == ReplicaHealth::kGone ? kCallFailed : "", replica);
  {
    MutexLock lock(&mutex_);
    probe_soon_ = true;
  }
  wake_.NotifyAll();
}

std::map<std::string, v1::ModelInfo> ReplicaSet::infos() const {
  MutexLock lock(&mutex_);
  std::map<std::string, v1::ModelInfo> infos;
  for (const Known* known : Serving()) infos.emplace(known->replica->address, *known->info);
  return infos;
}

std::vector<ReplicaState> ReplicaSet::states() const {
  MutexLock lock(&mutex_);
  std::vector<ReplicaState> states;
  for (const auto& [address, known] : known_) {
    ReplicaState state;
    state.address = address;
    state.health = known.replica->health;
    state.num_outstanding = known.replica->outstanding;
    state.info = known.info;
    if (state.health != ReplicaHealth::kServing) state.failure = FailureOf(known);
    states.push_back(std::move(state));
  }
  return states;
}

std::string ReplicaSet::FailureOf(const Known& known) {
  if (!known.failure.empty()) return known.failure;
  const ReplicaHealth health = known.replica->health;
  return health == ReplicaHealth::kGone ? kCallFailed : Cat("it is ", NameOf(health));
}

absl::Status ReplicaSet::status() const {
  MutexLock lock(&mutex_);
  return Serving().empty() ? WhyNone("") : absl::OkStatus();
}

absl::Status ReplicaSet::WhyNone(const std::string& what) const {
  std::string reasons = resolve_failure_;
  for (const auto& [address, known] : known_) {
    if (!reasons.empty()) reasons += "; ";
    const bool serves = known.replica->health == ReplicaHealth::kServing;
    reasons += Cat(address, ": ", serves ? Cat("it has ", known.pool) : FailureOf(known));
  }
  return WithReason(
      absl::UnavailableError(Cat("no replica of the ", options_.service, " service", what,
                                 " answers (", reasons.empty() ? "no address" : reasons, ")")),
      "no_replicas");
}

int ReplicaSet::num_replicas(ReplicaHealth health) const {
  MutexLock lock(&mutex_);
  if (health == ReplicaHealth::kServing) return static_cast<int>(Serving().size());
  return static_cast<int>(std::count_if(known_.begin(), known_.end(), [&](const auto& entry) {
    return entry.second.replica->health == health;
  }));
}

}  // namespace vl2::gateway
