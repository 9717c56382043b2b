// MetricsListener: a small HTTP server for an orchestrator and Prometheus.
//
//   GET /metrics   Metrics::Text()
//   GET /healthz   200 "ok" while the process lives: for liveness probes
//   GET /readyz    200 "ready" or 503 "not ready": for readiness probes without gRPC
//
// Owns: its threads, joined by the destructor. Threading: thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/rpc/metrics.h"

struct mg_context;
struct mg_connection;

namespace vl2 {

class MetricsListener {
 public:
  // `listen` is host:port, port 0 takes any free one. `metrics` and what `ready` uses outlive this.
  // UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsListener>> Start(const std::string& listen,
                                                                const Metrics& metrics,
                                                                std::function<bool()> ready);
  ~MetricsListener();

  // With the port in use.
  const std::string& address() const { return address_; }

 private:
  MetricsListener(const Metrics& metrics, std::function<bool()> ready)
      : metrics_(metrics), ready_(std::move(ready)) {}
  static int Answer(mg_connection* connection, void* self);

  const Metrics& metrics_;
  const std::function<bool()> ready_;
  mg_context* context_ = nullptr;
  std::string address_;
};

}  // namespace vl2
