#include "vision_service/service/peer_allow_list.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2 {
namespace {

bool IsLoopback(const std::string& host) {
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return host == "localhost" ||
         (inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

// The numeric addresses of a name; none when it cannot be resolved now.
std::set<std::string> NumericAddresses(const std::string& host) {
  std::set<std::string> addresses;
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof(text), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      addresses.insert(text);
    }
  }
  freeaddrinfo(found);
  return addresses;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PeerAllowList>> PeerAllowList::Make(
    const std::vector<std::string>& texts) {
  std::vector<Entry> entries;
  for (const std::string& text : texts) {
    if (text.empty()) continue;
    Entry entry = {.host = text};
    if (text.find(':') != std::string::npos) {
      VL2_ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(text));
      entry = {.host = parsed.host, .port = parsed.port};
    }
    entries.push_back(std::move(entry));
  }
  std::unique_ptr<PeerAllowList> list(new PeerAllowList(std::move(entries)));
  list->Resolve();
  if (!list->entries_.empty()) {
    list->thread_ = std::thread([raw = list.get()] {
      for (;;) {
        {
          MutexLock lock(&raw->mutex_);
          const auto next =
              std::chrono::steady_clock::now() + std::chrono::milliseconds(kRefreshMs);
          while (!raw->stopping_ && raw->stopped_.WaitUntil(&raw->mutex_, next)) {
          }
          if (raw->stopping_) return;
        }
        raw->Resolve();
      }
    });
  }
  return list;
}

PeerAllowList::~PeerAllowList() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    stopped_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void PeerAllowList::Resolve() {
  std::vector<std::set<std::string>> addresses;
  for (const Entry& entry : entries_) addresses.push_back(NumericAddresses(entry.host));
  MutexLock lock(&mutex_);
  addresses_.resize(entries_.size());
  for (size_t i = 0; i < addresses.size(); ++i) {
    // A name server that fails for a moment does not cut anybody off.
    if (!addresses[i].empty()) addresses_[i] = std::move(addresses[i]);
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

}  // namespace vl2
