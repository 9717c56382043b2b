#include "vision_service/service/peer_allow_list.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>

#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2 {
namespace {

bool IsNumeric(const std::string& host) {
  in_addr v4;
  in6_addr v6;
  return inet_pton(AF_INET, host.c_str(), &v4) == 1 || inet_pton(AF_INET6, host.c_str(), &v6) == 1;
}

bool IsLoopback(const std::string& host) {
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return host == "localhost" ||
         (inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

std::vector<std::string> NumericAddresses(const std::string& host) {
  std::vector<std::string> addresses;
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      addresses.push_back(text);
    }
  }
  freeaddrinfo(found);
  return addresses;
}

}  // namespace

absl::Status PeerAllowListOptions::Validate() const {
  if (resolve_interval_ms < 1 || resolve_interval_ms > 3'600'000) {
    return InvalidArgument("--resolve_interval_ms ", resolve_interval_ms,
                           " is outside [1, 3600000]");
  }
  if (keep_ms < 0 || keep_ms > 86'400'000) {
    return InvalidArgument("--lm_allow_keep_ms ", keep_ms, " is outside [0, 86400000]");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PeerAllowList>> PeerAllowList::Make(
    const PeerAllowListOptions& options) {
  VL2_RETURN_IF_ERROR(options.Validate());
  std::vector<Entry> entries;
  for (const std::string& text : options.entries) {
    if (text.empty()) continue;
    Entry entry = {.host = text};
    if (text.find(':') != std::string::npos) {
      VL2_ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(text));
      entry = {.host = parsed.host, .port = parsed.port};
    }
    entry.numeric = IsNumeric(entry.host);
    entries.push_back(std::move(entry));
  }
  std::unique_ptr<PeerAllowList> list(new PeerAllowList(options, std::move(entries)));
  if (!list->entries_.empty()) {
    list->thread_ = std::thread([raw = list.get()] { raw->Run(); });
  }
  return list;
}

PeerAllowList::PeerAllowList(PeerAllowListOptions options, std::vector<Entry> entries)
    : options_(std::move(options)), entries_(std::move(entries)), addresses_(entries_.size()) {}

PeerAllowList::~PeerAllowList() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void PeerAllowList::Run() {
  for (;;) {
    std::vector<std::pair<std::string, Answer>> askers;
    {
      MutexLock lock(&mutex_);
      askers.swap(askers_);
    }
    Resolve();
    // Who asked while the names were being resolved waits for the next time.
    for (const auto& [address, answer] : askers) {
      if (const absl::Status status = Check(address); status.ok()) {
        answer(status);
      } else {
        answer(Refuse(address, ""));
      }
    }
    MutexLock lock(&mutex_);
    const auto now = Clock::now();
    const auto next = now + std::chrono::milliseconds(options_.resolve_interval_ms);
    const auto soon = now + std::chrono::milliseconds(kMinPauseMs);
    while (!stopping_ && Clock::now() < (askers_.empty() ? next : soon)) {
      wake_.WaitUntil(&mutex_, askers_.empty() ? next : soon);
    }
    if (stopping_) return;
  }
}

void PeerAllowList::Resolve() {
  std::vector<std::vector<std::string>> found;
  for (const Entry& entry : entries_) {
    found.push_back(entry.numeric      ? std::vector<std::string>{entry.host}
                    : options_.resolve ? options_.resolve(entry.host)
                                       : NumericAddresses(entry.host));
  }
  const auto now = Clock::now();
  const auto oldest = now - std::chrono::milliseconds(options_.keep_ms);
  MutexLock lock(&mutex_);
  for (size_t i = 0; i < found.size(); ++i) {
    // A name server that fails for a moment does not cut anybody off.
    if (found[i].empty()) continue;
    for (std::string& address : found[i]) addresses_[i][std::move(address)] = now;
    std::erase_if(addresses_[i],
                  [&](const auto& seen) { return seen.second != now && seen.second <= oldest; });
  }
}

absl::Status PeerAllowList::Check(const std::string& address) const {
  VL2_ASSIGN_OR_RETURN(const HostPort peer, ParseHostPort(address));
  if (entries_.empty() && IsLoopback(peer.host)) return absl::OkStatus();
  MutexLock lock(&mutex_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].port != 0 && entries_[i].port != peer.port) continue;
    if (entries_[i].host == peer.host || addresses_[i].count(peer.host) > 0) {
      return absl::OkStatus();
    }
  }
  return absl::PermissionDeniedError(
      Cat("embeddings may not be sent to ", address, ", see --lm_allow"));
}

absl::Status PeerAllowList::Ask(const std::string& address, Answer answer) {
  if (entries_.empty() || options_.keep_ms == 0) return Refuse(address, "");
  {
    MutexLock lock(&mutex_);
    if (askers_.size() < kMaxAskers) {
      askers_.emplace_back(address, std::move(answer));
      wake_.NotifyAll();
      return absl::OkStatus();
    }
  }
  return Refuse(address, Cat("; ", kMaxAskers, " other addresses are being looked up"));
}

absl::Status PeerAllowList::Refuse(const std::string& address, const std::string& reason) {
  MutexLock lock(&mutex_);
  ++num_refused_;
  return absl::PermissionDeniedError(
      Cat("embeddings may not be sent to ", address, ", see --lm_allow", reason));
}

int64_t PeerAllowList::num_asking() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(askers_.size());
}

int64_t PeerAllowList::num_refused() const {
  MutexLock lock(&mutex_);
  return num_refused_;
}

}  // namespace vl2
