// MetricsListener: a small HTTP server for an orchestrator and Prometheus.
//
//   GET /metrics   Metrics::Text()
//   GET /livez     200, or 503 with the reason: ServiceHealth::Live()
//   GET /readyz    the same of ServiceHealth::Ready()
//   GET /healthz   the older name of /livez
//
// Owns: its threads, joined by the destructor. Threading: thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/rpc/metrics.h"
#include "runtime/rpc/service_health.h"

struct mg_context;
struct mg_connection;

namespace vl2 {

class MetricsListener {
 public:
  // `listen` is host:port, port 0 takes any free one. `metrics` and `health` outlive this.
  // UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsListener>> Start(const std::string& listen,
                                                                const Metrics& metrics,
                                                                const ServiceHealth& health);
  ~MetricsListener();

  // With the port in use.
  const std::string& address() const { return address_; }

 private:
  MetricsListener(const Metrics& metrics, const ServiceHealth& health)
      : metrics_(metrics), health_(health) {}
  static int Answer(mg_connection* connection, void* self);

  const Metrics& metrics_;
  const ServiceHealth& health_;
  mg_context* context_ = nullptr;
  std::string address_;
};

}  // namespace vl2
