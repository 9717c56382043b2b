// VisionMetrics: what the vision service tells Prometheus. Names: deploy/observe/metrics.json.
//
// Threading: thread-safe. Engine and allow-list outlive the last scrape after Watch.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "runtime/rpc/metrics.h"
#include "vision_service/engine/vision_engine.h"
#include "vision_service/service/peer_allow_list.h"

namespace vl2 {

class VisionMetrics {
 public:
  explicit VisionMetrics(Metrics& metrics);

  void Watch(const VisionEngine& engine, const PeerAllowList& peers);

  // For VisionEngineOptions::on_encoded.
  void OnEncoded(const EncodingTimings& timings);
  void OnUploadBegin() { ++num_uploads_; }
  void OnUploadBytes(int64_t num_bytes) { upload_bytes_.Add(static_cast<double>(num_bytes)); }
  void OnUploadEnd(const absl::Status& status, double seconds);
  // A call that its caller left: at stage 0 (header), 1 (file) or 2 (starts).
  void OnCancelled(int stage) { cancelled_.at(stage).Add(); }

 private:
  Metrics& metrics_;
  MetricHistogram decode_seconds_, wait_seconds_, encode_seconds_, upload_seconds_;
  MetricCounter upload_bytes_;
  std::map<int, MetricCounter> cancelled_;
  std::map<absl::StatusCode, MetricCounter> uploads_;
  std::atomic<int64_t> num_uploads_{0};
};

}  // namespace vl2
