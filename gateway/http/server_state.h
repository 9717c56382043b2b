// ServerState: what all connections of an HttpServer share.
//
// Threading: the counters are atomic, the rest does not change after the start.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "boost/asio/thread_pool.hpp"
#include "gateway/http/byte_budget.h"
#include "gateway/http/http_server.h"
#include "gateway/http/image_fetcher.h"

namespace vl2::gateway {

struct ServerState {
  ServerState(const HttpOptions& options, const ChatBackend& backend, Metrics& metrics,
              std::function<absl::Status()> ready)
      : options(options),
        backend(backend),
        metrics(metrics),
        ready(std::move(ready)),
        first_token_ms(metrics.Histogram("vl2_gateway_first_token_ms",
                                         "Milliseconds from a request's arrival to its first token",
                                         DecimalBounds(1, 100'000))),
        request_ms(metrics.Histogram("vl2_gateway_request_ms",
                                     "Milliseconds from a request's arrival to its end",
                                     DecimalBounds(1, 1'000'000))),
        prompt_tokens(metrics.Counter("vl2_gateway_prompt_tokens_total", "Tokens of prompts")),
        generated_tokens(
            metrics.Counter("vl2_gateway_generated_tokens_total", "Tokens of answers")),
        fetcher(options.fetch),
        body_bytes(options.max_held_body_bytes),
        parse_threads(static_cast<size_t>(options.num_parse_threads)) {}

  const HttpOptions options;
  const ChatBackend backend;
  Metrics& metrics;
  const std::function<absl::Status()> ready;
  MetricHistogram first_token_ms;
  MetricHistogram request_ms;
  MetricCounter prompt_tokens;
  MetricCounter generated_tokens;
  const ImageFetcher fetcher;
  ByteBudget body_bytes;  // of the chat requests in flight
  boost::asio::thread_pool parse_threads;
  std::atomic<int64_t> num_connections{0};
  std::atomic<int64_t> num_in_flight{0};
  std::atomic<bool> draining{false};
};

// Counts something for as long as it lives.
class Counted {
 public:
  explicit Counted(std::atomic<int64_t>* counter) : counter_(counter), count_(++*counter) {}
  ~Counted() { --*counter_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  // With this one.
  int64_t count() const { return count_; }

 private:
  std::atomic<int64_t>* const counter_;
  const int64_t count_;
};

}  // namespace vl2::gateway
