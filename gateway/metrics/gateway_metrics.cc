#include "gateway/metrics/gateway_metrics.h"

#include <vector>

#include "runtime/rpc/metric_codes.h"

namespace vl2::gateway {
namespace {

const char* NameOf(Api api) { return api == Api::kHttp ? "http" : "grpc"; }

// From a quarter of a second's promise to a large picture on a slow machine.
std::vector<double> FirstTokenBounds() {
  return {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.6, 1, 1.5, 2.5, 5, 10, 20, 60, 120};
}

std::vector<double> GapBounds() {
  return {0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04,
          0.05,  0.075, 0.1,   0.15,  0.25,   0.4,  0.75,  1.5,  2.5,  5};
}

std::vector<double> RequestBounds() {
  return {0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600};
}

MetricCounter Requests(Metrics& metrics, Api api, const std::string& client,
                       absl::StatusCode code) {
  return metrics.Counter("vl2_gateway_requests_total", "Chat requests by how they ended.",
                         {{"api", NameOf(api)}, {"client", client}, {"code", CodeLabel(code)}});
}

MetricCounter Retries(Metrics& metrics, const char* service, absl::StatusCode code) {
  return metrics.Counter("vl2_gateway_retries_total",
                         "Calls to a service that were made again, by why the last one failed.",
                         {{"service", service}, {"reason", CodeLabel(code)}});
}

MetricCounter Tokens(Metrics& metrics, const char* kind) {
  return metrics.Counter("vl2_gateway_tokens_total", "Tokens of prompts and of answers.",
                         {{"kind", kind}});
}

}  // namespace

GatewayMetrics::GatewayMetrics(Metrics& metrics)
    : metrics_(metrics),
      first_token_seconds_(metrics.Histogram("vl2_gateway_time_to_first_token_seconds",
                                             "From a request's arrival to its first token.",
                                             FirstTokenBounds())),
      inter_token_seconds_(metrics.Histogram("vl2_gateway_inter_token_seconds",
                                             "Each gap between the tokens of an answer.",
                                             GapBounds())),
      resumed_(
          metrics.Counter("vl2_gateway_resumed_total", "Answers that went on at another replica.")),
      images_(metrics.Counter("vl2_gateway_images_total", "Images of chat requests.")),
      prompt_tokens_(Tokens(metrics, "prompt")),
      completion_tokens_(Tokens(metrics, "completion")) {
  for (const Api api : {Api::kHttp, Api::kGrpc}) {
    request_seconds_.emplace(api, metrics.Histogram("vl2_gateway_request_seconds",
                                                    "From a chat request's arrival to its end.",
                                                    RequestBounds(), {{"api", NameOf(api)}}));
    for (int code = 0; code < kNumStatusCodes; ++code) {
      Requests(metrics, api, kNoClient, static_cast<absl::StatusCode>(code));
    }
  }
  for (const char* limit : {"concurrent", "requests_per_min", "tokens_per_min"}) {
    metrics.Counter("vl2_gateway_limited_total", "Chat requests over a limit of their key.",
                    {{"client", kNoClient}, {"limit", limit}});
  }
  for (const char* service : {"language", "vision"}) {
    for (const auto code : {absl::StatusCode::kUnavailable, absl::StatusCode::kCancelled,
                            absl::StatusCode::kAborted, absl::StatusCode::kResourceExhausted}) {
      Retries(metrics, service, code);
    }
  }
  for (const auto& [stage, name] :
       {std::pair(ChatStage::kWaiting, "waiting"), std::pair(ChatStage::kEncoding, "encoding"),
        std::pair(ChatStage::kPrefill, "prefill"), std::pair(ChatStage::kDecode, "decode")}) {
    cancelled_.emplace(stage, metrics.Counter("vl2_gateway_cancelled_total",
                                              "Chat requests that their clients left, by how far "
                                              "they had come.",
                                              {{"stage", name}}));
  }
}

void GatewayMetrics::Watch(Api api, const AdmissionController& admission) {
  metrics_.AddSource([api, &admission](MetricSamples& samples) {
    const MetricLabels labels = {{"api", NameOf(api)}};
    const auto gauge = [&](const char* name, const char* help, int64_t value) {
      samples.Gauge(name, help, static_cast<double>(value), labels);
    };
    gauge("vl2_gateway_in_flight", "Chat requests being served.", admission.num_in_flight());
    gauge("vl2_gateway_in_flight_limit", "Chat requests served at most.", admission.max_requests());
    gauge("vl2_gateway_reading", "Chat requests whose body is on its way.",
          admission.num_reading());
    gauge("vl2_gateway_held_body_bytes", "Bytes of chat requests.", admission.num_bytes());
    gauge("vl2_gateway_held_body_bytes_limit", "These at most.", admission.max_bytes());
    samples.Counter("vl2_gateway_ended_for_room_total",
                    "Chat requests that were ended in favour of another client's.",
                    static_cast<double>(admission.num_ended()), labels);
  });
}

void GatewayMetrics::OnRequestEnd(Api api, const std::string& client, const absl::Status& status,
                                  double seconds) {
  Requests(metrics_, api, client, status.code()).Add();
  request_seconds_.at(api).Observe(seconds);
}

void GatewayMetrics::OnRefused(Api api, const std::string& client, const absl::Status& status) {
  Requests(metrics_, api, client, status.code()).Add();
}

void GatewayMetrics::OnLimited(const std::string& client, const char* limit) {
  metrics_
      .Counter("vl2_gateway_limited_total", "Chat requests over a limit of their key.",
               {{"client", client}, {"limit", limit}})
      .Add();
}

void GatewayMetrics::OnRetry(const char* service, const absl::Status& status) {
  Retries(metrics_, service, status.code()).Add();
}

void GatewayMetrics::OnEnd(const absl::Status& status, ChatStage stage, int64_t prompt_tokens,
                           int64_t generated_tokens) {
  if (absl::IsCancelled(status)) cancelled_.at(stage).Add();
  prompt_tokens_.Add(static_cast<double>(prompt_tokens));
  completion_tokens_.Add(static_cast<double>(generated_tokens));
}

}  // namespace vl2::gateway
