#include "gateway/upstream/replica_set.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "gateway/upstream/endpoint_picker.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2::gateway {
namespace {

using Clock = std::chrono::steady_clock;

const char* const kCallFailed = "a call failed";

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  // A replica that vanishes without a word (a lost node) is noticed within half a minute.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // One that comes back is used again soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Which replica is tried is decided here, never by a proxy's settings in the environment.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

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

}  // namespace

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
  set->thread_ = std::thread([raw = set.get()] { raw->Run(); });
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
  if (thread_.joinable()) thread_.join();
  // Calls that were cancelled a moment ago still report their end here.
  while (num_leases_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void ReplicaSet::Run() {
  Clock::time_point next_resolve = Clock::now();
  for (;;) {
    if (Clock::now() >= next_resolve) {
      Resolve();
      next_resolve = Clock::now() + options_.resolve_interval;
    }
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

void ReplicaSet::Resolve() {
  std::set<std::string> addresses;
  std::string failure;
  for (const Target& target : targets_) {
    auto found = options_.resolve ? options_.resolve(target.host, target.port)
                                  : Lookup(target.host, target.port);
    if (found.ok()) {
      addresses.insert(found->begin(), found->end());
    } else {
      failure = Message(found.status());
    }
  }
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
    known.replica->channel = MakeChannel(address);
  }
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
    if (known.num_late > 0 && replica->healthy) {
      // A busy replica answers late and is no lost one; a lost one's connection breaks.
      if (known.num_late < options_.max_late_probes || !OthersAnswer(*replica)) return;
      MutexLock replica_lock(&replica->mutex);
      for (const auto& [lease, call] : replica->when_hung) when_hung.push_back(call);
    }
    const bool was_healthy = replica->healthy.exchange(info.ok());
    known.failure = info.ok() ? "" : Message(info.status());
    if (info.ok()) known.info = *std::move(info);
    if (was_healthy != replica->healthy) {
      Log(replica->healthy ? Severity::kInfo : Severity::kWarning,
          replica->healthy ? "replica is there" : "replica is gone",
          {{"service", options_.service},
           {"address", replica->address},
           {"reason", known.failure}});
    }
  }
  for (const auto& call : when_hung) call();
}

bool ReplicaSet::OthersAnswer(const Replica& replica) const {
  return std::any_of(known_.begin(), known_.end(), [&](const auto& entry) {
    return entry.second.replica.get() != &replica && entry.second.replica->healthy &&
           entry.second.num_late == 0;
  });
}

absl::StatusOr<std::shared_ptr<ReplicaLease>> ReplicaSet::Pick(
    const std::vector<std::string>& avoid, std::optional<uint64_t> affinity) {
  std::vector<EndpointLoad> loads;
  std::vector<std::shared_ptr<Replica>> replicas;
  {
    MutexLock lock(&mutex_);
    for (const auto& [address, known] : known_) {
      if (!known.replica->healthy) continue;
      loads.push_back({address, known.replica->outstanding});
      replicas.push_back(known.replica);
    }
    if (const auto index = PickEndpoint(loads, avoid, affinity, turn_++)) {
      return std::make_shared<ReplicaLease>(replicas[*index], &num_leases_);
    }
  }
  return status();
}

void ReplicaSet::ReportUnreachable(Replica& replica) {
  if (!replica.healthy.exchange(false)) return;
  Log(Severity::kWarning, "replica is gone",
      {{"service", options_.service}, {"address", replica.address}, {"reason", kCallFailed}});
  {
    MutexLock lock(&mutex_);
    probe_soon_ = true;
  }
  wake_.NotifyAll();
}

std::map<std::string, v1::ModelInfo> ReplicaSet::infos() const {
  MutexLock lock(&mutex_);
  std::map<std::string, v1::ModelInfo> infos;
  for (const auto& [address, known] : known_) {
    if (known.replica->healthy) infos.emplace(address, *known.info);
  }
  return infos;
}

std::vector<ReplicaState> ReplicaSet::states() const {
  MutexLock lock(&mutex_);
  std::vector<ReplicaState> states;
  for (const auto& [address, known] : known_) {
    ReplicaState state;
    state.address = address;
    state.healthy = known.replica->healthy;
    state.num_outstanding = known.replica->outstanding;
    state.info = known.info;
    if (!state.healthy) state.failure = known.failure.empty() ? kCallFailed : known.failure;
    states.push_back(std::move(state));
  }
  return states;
}

absl::Status ReplicaSet::status() const {
  MutexLock lock(&mutex_);
  std::string reasons = resolve_failure_;
  for (const auto& [address, known] : known_) {
    if (known.replica->healthy) return absl::OkStatus();
    if (!reasons.empty()) reasons += "; ";
    reasons += Cat(address, ": ", known.failure.empty() ? kCallFailed : known.failure);
  }
  return absl::UnavailableError(Cat("no replica of the ", options_.service, " service answers (",
                                    reasons.empty() ? "no address" : reasons, ")"));
}

int ReplicaSet::num_replicas() const {
  MutexLock lock(&mutex_);
  return static_cast<int>(std::count_if(known_.begin(), known_.end(), [](const auto& entry) {
    return entry.second.replica->healthy.load();
  }));
}

}  // namespace vl2::gateway
