// GatewayMetrics: what the gateway tells Prometheus of its requests, over HTTP and gRPC alike.
// Names: deploy/observe/metrics.json.
//
// Every metric with fixed labels is there from the start, with the value 0.
//
// Threading: thread-safe.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "gateway/session/admission_controller.h"
#include "gateway/session/session_observer.h"
#include "runtime/rpc/metrics.h"

namespace vl2::gateway {

enum class Api { kHttp, kGrpc };

class GatewayMetrics final : public SessionObserver {
 public:
  // The `client` label of requests without a key.
  static constexpr char kNoClient[] = "-";

  explicit GatewayMetrics(Metrics& metrics);

  Metrics& metrics() { return metrics_; }
  // `admission` outlives the last scrape.
  void Watch(Api api, const AdmissionController& admission);

  // A chat request that was served, however it ended; `client` is a key's name or kNoClient.
  void OnRequestEnd(Api api, const std::string& client, const absl::Status& status, double seconds);
  // One that was refused before its work began.
  void OnLimited(const std::string& client, const char* limit);
  void OnRefused(Api api, const std::string& client, const absl::Status& status);

  void OnFirstToken(double seconds) override { first_token_seconds_.Observe(seconds); }
  void OnTokenGap(double seconds) override { inter_token_seconds_.Observe(seconds); }
  void OnRetry(const char* service, const absl::Status& status) override;
  void OnResumed() override { resumed_.Add(); }
  void OnImages(int64_t num_images) override { images_.Add(static_cast<double>(num_images)); }
  void OnEnd(const absl::Status& status, ChatStage stage, int64_t prompt_tokens,
             int64_t generated_tokens) override;

 private:
  Metrics& metrics_;
  MetricHistogram first_token_seconds_, inter_token_seconds_;
  std::map<Api, MetricHistogram> request_seconds_;
  std::map<ChatStage, MetricCounter> cancelled_;
  MetricCounter resumed_, images_, prompt_tokens_, completion_tokens_;
};

}  // namespace vl2::gateway
