// HttpServer: the OpenAI-compatible interface, on a few threads.
//
//   POST /v1/chat/completions   answers, whole or as server-sent events
//   GET  /v1/models[/{id}]      the model this gateway serves
//   GET  /livez, /healthz       200 while the process lives
//   GET  /readyz                200, or 503 once it shuts down: other services have no part in it
//   GET  /readyz/pools          200 when there is a complete pool of replicas, else 503 and the
//   reason GET  /                      the web page
//
// A client that goes away ends its request at once, and one that half-closes its side counts as
// gone. Every connection is a coroutine on a strand; parsing large bodies happens on threads of its
// own. When connections or descriptors run out, those that wait for no answer are closed, oldest
// first.
//
// Owns: listener, connections, threads. Borrows the backend. Threading: thread-safe.
// Limits: HttpOptions. Errors: UNAVAILABLE when the address cannot be bound.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/http/image_fetcher.h"
#include "gateway/metrics/gateway_metrics.h"
#include "gateway/session/api_keys.h"
#include "gateway/session/chat_session.h"
#include "gateway/session/client_identity.h"

namespace vl2::gateway {

struct HttpOptions {
  std::string listen = "127.0.0.1:0";
  std::string model_name;
  ApiKeys* keys = nullptr;  // outlives the server; null: no authentication
  // Origins whose pages may call, comma-separated, or "*"; empty: none but the server's own.
  std::string cors_origin;
  // Names that a loopback server without a key answers to, see WebPageRules.
  std::string allowed_hosts;
  TrustedProxies trusted_proxies;  // may say on whose behalf they ask
  SamplingChoice sampling;         // defaults of requests
  int num_threads = 2;
  int num_parse_threads = 2;
  int64_t max_connections = 4096;
  int64_t max_in_flight = 256;  // chat requests
  uint32_t max_header_bytes = 32 << 10;
  uint64_t max_body_bytes = uint64_t{64} << 20;
  int64_t max_held_body_bytes = int64_t{1} << 30;  // over all chat requests in flight
  ImageFetchOptions fetch;                         // no hosts: nothing is fetched
  std::chrono::milliseconds request_timeout{600'000};
  std::chrono::milliseconds idle_timeout{75'000};    // between requests
  std::chrono::milliseconds header_timeout{10'000};  // of a request's header, from its first byte
  std::chrono::milliseconds body_timeout{60'000};    // of a chat request's body
  // A body slower than this, after the grace, is refused.
  int64_t min_body_rate = 16 << 10;  // bytes per second
  std::chrono::milliseconds body_grace{5'000};
  std::chrono::milliseconds sse_comment_interval{10'000};

  // INVALID_ARGUMENT naming field, value and range.
  absl::Status Validate() const;
};

class HttpServer {
 public:
  // `backend`'s parts and `metrics` outlive this. `pools` says whether there are replicas that can
  // serve requests.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpOptions& options,
                                                           const ChatBackend& backend,
                                                           GatewayMetrics& metrics,
                                                           std::function<absl::Status()> pools);
  ~HttpServer();

  // host:port with the port in use.
  const std::string& address() const;

  // Accepts no more connections and lets running requests end for at most `timeout`. The rest are
  // told so: with 503, or an error event at the end of their stream.
  void Drain(std::chrono::milliseconds timeout);

 private:
  struct Parts;
  explicit HttpServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace vl2::gateway
