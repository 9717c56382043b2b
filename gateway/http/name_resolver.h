// NameResolver: asks the name service for hosts' addresses, any number at a time, on one thread.
//
// A name server that is silent holds up nobody but those who ask it, and they may stop waiting when
// they like. The system's own getaddrinfo would hold a thread for each; this is c-ares, which reads
// /etc/hosts, /etc/resolv.conf and /etc/nsswitch.conf. Configuration that has changed is read again
// after a while.
//
// Owns: the thread, started by the first look-up. Threading: thread-safe.
// Limits: kMaxLookups at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/asio/ip/address.hpp"

namespace vl2::gateway {

class NameResolver {
 public:
  static constexpr int64_t kMaxLookups = 256;

  using Addresses = std::vector<boost::asio::ip::address>;
  using Done = std::function<void(absl::StatusOr<Addresses>)>;

  // `servers`: "address:port, …" in place of the system's; empty: the system's.
  explicit NameResolver(std::string servers = "");
  // Ends the thread; what has not been answered by then never is.
  ~NameResolver();
  NameResolver(const NameResolver&) = delete;
  NameResolver& operator=(const NameResolver&) = delete;

  // `done` is called once, on the resolver's thread, or from within when the limit is reached
  // (RESOURCE_EXHAUSTED); it must be short. UNAVAILABLE when the name has no address or no server
  // tells it.
  void Lookup(const std::string& host, Done done);
  // Ends the thread. Without further calls of `done`.
  void Stop();

  int64_t num_lookups() const;  // under way

 private:
  class Core;
  const std::unique_ptr<Core> core_;
};

}  // namespace vl2::gateway
