#include "runtime/rpc/metrics_port.h"

#include "runtime/base/status.h"
#include "runtime/rpc/process_metrics.h"

namespace vl2 {

MetricsPort::MetricsPort() {
  metrics_.AddSource([this](MetricSamples& samples) { Collect(samples); });
}

absl::Status MetricsPort::Open(const std::string& listen) {
  if (listen.empty()) return absl::OkStatus();
  VL2_ASSIGN_OR_RETURN(listener_, MetricsListener::Start(listen, metrics_, health_));
  return absl::OkStatus();
}

void MetricsPort::SetModelId(const std::string& model_id) {
  MutexLock lock(&mutex_);
  model_id_ = model_id;
}

void MetricsPort::Collect(MetricSamples& samples) {
  CollectProcessMetrics(samples);
  samples.Gauge("vl2_build_info", "1, with the build's version as label.", 1,
                {{"version", VL2_VERSION}});
  samples.Gauge("vl2_load_progress", "Share of the weights that are in memory.",
                health_.load_progress());
  samples.Gauge("vl2_draining", "1 while the service is shutting down.",
                health_.state() == ServiceHealth::State::kDraining);
  if (num_threads_ > 0) {
    samples.Gauge("vl2_threads", "Threads that compute.", num_threads_);
  }
  MutexLock lock(&mutex_);
  if (!model_id_.empty()) {
    samples.Gauge("vl2_model_info", "1, with the model's id as label.", 1,
                  {{"model_id", model_id_}});
  }
}

}  // namespace vl2
