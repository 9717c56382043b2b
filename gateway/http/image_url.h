// Addresses of pictures on other servers: how they are written, and which may be fetched.
//
// Pure functions and values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/asio/ip/address.hpp"

namespace vl2::gateway {

// An http or https address. Names are lower case; an IPv6 address stands without brackets.
struct ImageUrl {
  static constexpr size_t kMaxBytes = 2048;

  bool tls = false;
  std::string host;
  uint16_t port = 0;
  std::string target;  // path and query; begins with '/'

  bool default_port() const { return port == (tls ? 443 : 80); }
  // The Host header's value.
  std::string HostHeader() const;

  // Spaces around are dropped; what browsers escape in a path or query is escaped.
  // INVALID_ARGUMENT for another scheme, user names, control characters, a host with other
  // characters than names have, a port outside [1, 65535], an empty host, more than kMaxBytes.
  static absl::StatusOr<ImageUrl> Parse(std::string_view text);
  // `location` of a redirect: a whole address, or one relative to this (RFC 3986, 5.2).
  absl::StatusOr<ImageUrl> Redirect(std::string_view location) const;
};

// Hosts that pictures may be fetched from: "example.org" is that host, ".example.org" that host and
// all below it, "*" every host; ":8443" after it allows that port in place of 80 and 443.
class HostAllowList {
 public:
  HostAllowList() = default;
  // Comma-separated. INVALID_ARGUMENT names the entry.
  static absl::StatusOr<HostAllowList> Parse(std::string_view text);

  bool empty() const { return entries_.empty(); }
  bool Allows(const ImageUrl& url) const;

 private:
  struct Entry {
    std::string host;  // "" with `below`: every host
    bool below = false;
    uint16_t port = 0;  // 0: the scheme's own
  };
  std::vector<Entry> entries_;
};

// Whether an address is one of the public Internet: not loopback, private, link-local, shared,
// multicast, reserved, documentation, nor an IPv6 form that carries an IPv4 address which is none
// (IANA's special-purpose registries, RFC 6890).
bool IsPublicAddress(const boost::asio::ip::address& address);

}  // namespace vl2::gateway
