// ImageFetcher: brings pictures that a request names by http(s) address.
//
// Off unless hosts are allowed. A host is checked against the list, every one of its addresses
// against the public ranges, and the connection goes to a checked address itself, so that a second
// answer of the name service cannot lead elsewhere. Every redirect is checked in the same way.
// Certificates are verified against the system's authorities (SSL_CERT_FILE, SSL_CERT_DIR).
//
// Threading: Fetch from any coroutine; nothing is shared but what is constant.
// Errors: INVALID_ARGUMENT when the address is refused or gives no picture, UNAVAILABLE when the
// host cannot be reached, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED when the budget is spent; the
// messages never show the addresses that a name has.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "boost/asio/awaitable.hpp"
#include "gateway/http/byte_budget.h"
#include "gateway/http/image_url.h"

namespace vl2::gateway {

struct ImageFetchOptions {
  HostAllowList hosts;         // empty: nothing is fetched
  bool private_hosts = false;  // allowed hosts may have addresses that are not public
  int64_t max_bytes = int64_t{20} << 20;
  int max_redirects = 3;
  std::chrono::milliseconds timeout{10'000};  // of one picture, redirects included
};

class ImageFetcher {
 public:
  explicit ImageFetcher(ImageFetchOptions options);
  ~ImageFetcher();

  bool enabled() const { return !options_.hosts.empty(); }

  // The file's bytes, which `held` holds beyond what it held before.
  boost::asio::awaitable<absl::StatusOr<std::string>> Fetch(std::string address,
                                                            ByteReservation& held) const;

 private:
  struct Tls;
  struct Answer;
  boost::asio::awaitable<absl::StatusOr<Answer>> Get(const ImageUrl& url,
                                                     std::chrono::steady_clock::time_point until,
                                                     ByteReservation& held) const;
  const ImageFetchOptions options_;
  const std::unique_ptr<Tls> tls_;  // null when nothing is fetched
};

}  // namespace vl2::gateway
