// ClientIdentity: who a request comes from, for the shares that clients get where they compete.
//
// A client is its address. Behind trusted proxies that is the last address of X-Forwarded-For or
// Forwarded (RFC 7239) that is not a trusted proxy's own; what an untrusted peer says of itself is
// not believed. IPv6 addresses count by their /64, since one host has all of it.
//
// Pure functions and values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/asio/ip/address.hpp"

namespace vl2::gateway {

// Networks whose members may say on whose behalf they ask.
class TrustedProxies {
 public:
  TrustedProxies() = default;
  // Comma-separated addresses and networks (10.0.0.0/8, ::1). INVALID_ARGUMENT names the entry.
  static absl::StatusOr<TrustedProxies> Parse(std::string_view text);

  bool Contains(const boost::asio::ip::address& address) const;

 private:
  struct Network {
    boost::asio::ip::address_v6 base;  // an IPv4 network as mapped
    int num_bits = 128;
  };
  std::vector<Network> networks_;
};

// The address that stands for the client of a peer that sent these headers (all values of one name
// joined with commas). `forwarded` counts when `x_forwarded_for` is empty.
boost::asio::ip::address ClientAddress(const boost::asio::ip::address& peer,
                                       std::string_view x_forwarded_for, std::string_view forwarded,
                                       const TrustedProxies& proxies);

// The address of a gRPC peer, as "ipv4:1.2.3.4:56" and "ipv6:[::1]:56" (brackets may be escaped)
// tell it; the unspecified address for another form, such as a Unix socket's.
boost::asio::ip::address AddressOfGrpcPeer(std::string_view peer);

// The opaque name of a client: a digest, the same at every gateway, so that the model services
// count a client once that reaches them through several.
std::string ClientId(const boost::asio::ip::address& address);

}  // namespace vl2::gateway
