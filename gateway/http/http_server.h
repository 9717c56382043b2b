// HttpServer: the OpenAI-compatible interface, on a few threads.
//
//   POST /v1/chat/completions   answers, whole or as server-sent events
//   GET  /v1/models             the model this gateway serves
//   GET  /healthz               200 while the process lives
//   GET  /readyz                200, or 503 with the reason
//   GET  /                      the web page
//
// A client that goes away ends its request at once. Every connection is a coroutine on a strand;
// parsing large bodies happens on threads of its own.
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
#include "gateway/session/chat_session.h"
#include "runtime/rpc/metrics.h"

namespace vl2::gateway {

struct HttpOptions {
  std::string listen = "127.0.0.1:0";
  std::string model_name;
  std::string api_key;      // empty: no authentication
  std::string cors_origin;  // empty: no CORS headers
  SamplingChoice sampling;  // defaults of requests
  int num_threads = 2;
  int num_parse_threads = 2;
  int64_t max_connections = 4096;
  int64_t max_in_flight = 256;  // chat requests
  uint32_t max_header_bytes = 32 << 10;
  uint64_t max_body_bytes = uint64_t{64} << 20;
  int64_t max_held_body_bytes = int64_t{1} << 30;  // over all chat requests in flight
  ImageFetchOptions fetch;                         // no hosts: nothing is fetched
  std::chrono::milliseconds request_timeout{600'000};
  std::chrono::milliseconds idle_timeout{75'000};  // between requests, and for a body's next bytes
  std::chrono::milliseconds sse_comment_interval{10'000};

  // INVALID_ARGUMENT naming field, value and range.
  absl::Status Validate() const;
};

class HttpServer {
 public:
  // `backend`'s parts and `metrics` outlive this. `ready` says whether requests can be served.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpOptions& options,
                                                           const ChatBackend& backend,
                                                           Metrics& metrics,
                                                           std::function<absl::Status()> ready);
  ~HttpServer();

  // host:port with the port in use.
  const std::string& address() const;

  // Accepts no more connections, lets running requests end for at most `timeout`, cancels the rest.
  void Drain(std::chrono::milliseconds timeout);

 private:
  struct Parts;
  explicit HttpServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace vl2::gateway
