// MetricsPort: a service's metrics and health, and the port that tells them. A service opens it
// first of all, so that an orchestrator hears that it is alive while its weights load.
//
// Exports what all services have in common: vl2_build_info, vl2_model_info, vl2_load_progress,
// vl2_draining, vl2_threads, process_*.
//
// Owns: all three. Threading: thread-safe; Open by one thread. What is given to metrics() and
// health() outlives the listener, see Close().
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "runtime/base/mutex.h"
#include "runtime/rpc/metrics.h"
#include "runtime/rpc/metrics_listener.h"
#include "runtime/rpc/service_health.h"

namespace vl2 {

class MetricsPort {
 public:
  MetricsPort();
  ~MetricsPort() { Close(); }

  // Listens on host:port, port 0 takes any free one; nothing for an empty text.
  absl::Status Open(const std::string& listen);
  // Ends the listener.
  void Close() { listener_.reset(); }

  Metrics& metrics() { return metrics_; }
  ServiceHealth& health() { return health_; }
  // With the port in use; empty when none is open.
  std::string address() const { return listener_ == nullptr ? "" : listener_->address(); }

  // To be made last of all that is used by metrics() and health(): closes the port before they go.
  class Closer {
   public:
    explicit Closer(MetricsPort& port) : port_(port) {}
    ~Closer() { port_.Close(); }
    Closer(const Closer&) = delete;
    Closer& operator=(const Closer&) = delete;

   private:
    MetricsPort& port_;
  };

  // Threads that compute.
  void SetThreads(int num_threads) { num_threads_ = num_threads; }
  void SetModelId(const std::string& model_id);

 private:
  void Collect(MetricSamples& samples);

  Metrics metrics_;
  ServiceHealth health_;
  std::atomic<int> num_threads_{0};
  Mutex mutex_;
  std::string model_id_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<MetricsListener> listener_;
};

}  // namespace vl2
