// EngineMetrics: what the language service tells Prometheus. Names: deploy/observe/metrics.json.
//
// Every metric is there from the start, with the value 0, so that its rate is right from the first
// event on.
//
// Threading: thread-safe. The engine outlives the last scrape after Watch.
#pragma once

#include <map>
#include <string>

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
  void OnStep(const StepStats& step);
  void OnCallEnd(const absl::Status& status, const GenerateStats& stats);
  void OnUpload(int64_t num_bytes) { upload_bytes_.Add(static_cast<double>(num_bytes)); }
  void OnUploadEnd(const absl::Status& status);

 private:
  Metrics& metrics_;
  MetricHistogram step_seconds_;
  MetricHistogram prefill_step_tokens_, decode_step_tokens_;
  MetricHistogram queue_seconds_, prefill_seconds_, decode_seconds_;
  MetricCounter upload_bytes_;
  MetricCounter cancelled_waiting_, cancelled_prefill_, cancelled_decode_;
  std::map<absl::StatusCode, MetricCounter> calls_, uploads_;
};

}  // namespace vl2
