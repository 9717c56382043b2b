// ImageFetcher: brings pictures that a request names by http(s) address.
//
// Off unless hosts are allowed. A host is checked against the list, every one of its addresses
// against the public ranges, and the connection goes to a checked address itself, so that a second
// answer of the name service cannot lead elsewhere. Every redirect is checked in the same way.
// Certificates are verified against the system's authorities (SSL_CERT_FILE, SSL_CERT_DIR).
//
// Names are looked up beside everything else (NameResolver), so that a silent name server, or a
// silent host, costs its own request `timeout` and nobody else anything.
//
// Threading: Fetch from any coroutine on a strand of its own.
// Errors: INVALID_ARGUMENT when the address is refused or gives no picture, UNAVAILABLE when the
// host cannot be reached, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED when the budget is spent; the
// messages never show the addresses that a name has.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "gateway/http/image_url.h"
#include "gateway/http/name_resolver.h"
#include "gateway/session/admission_controller.h"

namespace vl2::gateway {

struct ImageFetchOptions {
  HostAllowList hosts;         // empty: nothing is fetched
  bool private_hosts = false;  // allowed hosts may have addresses that are not public
  int64_t max_bytes = int64_t{20} << 20;
  int max_redirects = 3;
  std::string name_servers;                   // "address:port, …"; empty: the system's
  std::chrono::milliseconds timeout{10'000};  // of one picture, redirects included
};

// Ends a fetch from outside. Used on the fetch's strand.
class FetchStop {
 public:
  // The fetch ends soon with CANCELLED; without effect when it has ended.
  void Stop() {
    stopped_ = true;
    if (wake_) wake_();
  }
  bool stopped() const { return stopped_; }

 private:
  friend class ImageFetcher;
  // What the fetch waits for is ended by `wake`, as long as this lives.
  class Waiting {
   public:
    Waiting(FetchStop& stop, std::function<void()> wake) : stop_(stop) {
      stop_.wake_ = std::move(wake);
    }
    ~Waiting() { stop_.wake_ = nullptr; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    FetchStop& stop_;
  };
  bool stopped_ = false;
  std::function<void()> wake_;
};

class ImageFetcher {
 public:
  explicit ImageFetcher(ImageFetchOptions options);
  ~ImageFetcher();

  bool enabled() const { return !options_.hosts.empty(); }

  // The file's bytes, which `ticket` holds beyond what it held before.
  boost::asio::awaitable<absl::StatusOr<std::string>> Fetch(std::string address,
                                                            AdmissionController::Ticket& ticket,
                                                            FetchStop& stop);

  // Ends the thread that looks names up. Before the executor of running fetches goes away.
  void Shutdown() { resolver_.Stop(); }
  int64_t num_lookups() const { return resolver_.num_lookups(); }

 private:
  struct Tls;
  struct Answer;
  using TimePoint = std::chrono::steady_clock::time_point;
  using Endpoints = std::vector<boost::asio::ip::tcp::endpoint>;
  boost::asio::awaitable<absl::StatusOr<Endpoints>> Resolve(const ImageUrl& url, TimePoint until,
                                                            FetchStop& stop);
  boost::asio::awaitable<absl::StatusOr<Answer>> Get(const ImageUrl& url, TimePoint until,
                                                     AdmissionController::Ticket& ticket,
                                                     FetchStop& stop);
  const ImageFetchOptions options_;
  const std::unique_ptr<Tls> tls_;  // null when nothing is fetched
  NameResolver resolver_;
};

}  // namespace vl2::gateway
