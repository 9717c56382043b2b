// EngineMetrics: what the language service tells Prometheus.
//
// Threading: thread-safe. The engine outlives the last scrape after Watch.
#pragma once

#include "absl/status/status.h"
#include "lm_service/engine/engine.h"
#include "runtime/rpc/metrics.h"

namespace vl2 {

class EngineMetrics {
 public:
  explicit EngineMetrics(Metrics& metrics);

  // Adds the engine's snapshot to every scrape.
  void Watch(const Engine& engine);

  // For EngineOptions::on_step.
  void OnStep(const StepStats& step) {
    step_ms_.Observe(step.ms);
    prefilled_.Add(static_cast<double>(step.num_prompt_rows));
    decoded_.Add(static_cast<double>(step.num_generated_rows));
  }
  // Latencies count by how the call ended: a cancelled one waited too.
  void OnCallEnd(const absl::Status& status, const GenerateStats& stats);
  void OnUpload(int64_t num_bytes) { upload_bytes_.Add(static_cast<double>(num_bytes)); }

 private:
  Metrics& metrics_;
  MetricHistogram step_ms_;
  MetricCounter upload_bytes_;
  MetricCounter prefilled_;
  MetricCounter decoded_;
};

}  // namespace vl2
