// ServerState: what all connections of an HttpServer share.
//
// Threading: every part is thread-safe, or does not change after the start.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "boost/asio/any_io_executor.hpp"
#include "boost/asio/thread_pool.hpp"
#include "gateway/http/departure_watch.h"
#include "gateway/http/http_server.h"
#include "gateway/http/idle_connections.h"
#include "gateway/http/image_fetcher.h"
#include "gateway/http/request_head.h"
#include "gateway/session/admission_controller.h"

namespace vl2::gateway {

struct ServerState {
  ServerState(const HttpOptions& options, const ChatBackend& backend, GatewayMetrics& metrics,
              std::function<absl::Status()> pools);

  const HttpOptions options;
  const ChatBackend backend;
  GatewayMetrics& metrics;
  const std::function<absl::Status()> pools;
  const WebPageRules web_pages;
  ImageFetcher fetcher;
  AdmissionController admission;
  IdleConnections idle;
  std::atomic<int64_t> num_connections{0};
  std::atomic<int64_t> num_waiting_parses{0};  // at most the requests in flight
  std::atomic<bool> draining{false};
  boost::asio::thread_pool parse_threads;
  // Of the server that owns the executor; goes before it.
  DepartureWatch* departures = nullptr;
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
