#include "lm_service/service/engine_metrics.h"

#include <vector>

#include "runtime/rpc/metric_codes.h"

namespace vl2 {
namespace {

// 1 ms to about five minutes, each twice the last.
std::vector<double> SecondsBounds() {
  std::vector<double> bounds;
  for (double bound = 0.001; bound < 300; bound *= 2) bounds.push_back(bound);
  return bounds;
}

std::vector<double> TokenBounds() {
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
}

MetricCounter Cancelled(Metrics& metrics, const char* stage) {
  return metrics.Counter("vl2_language_cancelled_total",
                         "Calls that their callers left, by how far they had come.",
                         {{"stage", stage}});
}

MetricHistogram StepTokens(Metrics& metrics, const char* kind) {
  return metrics.Histogram("vl2_language_step_tokens", "Positions computed in one step.",
                           TokenBounds(), {{"kind", kind}});
}

MetricHistogram Seconds(Metrics& metrics, const char* name, const char* help) {
  return metrics.Histogram(name, help, SecondsBounds());
}

std::map<absl::StatusCode, MetricCounter> ByCode(Metrics& metrics, const char* name,
                                                 const char* help) {
  std::map<absl::StatusCode, MetricCounter> counters;
  for (int i = 0; i < kNumStatusCodes; ++i) {
    const auto code = static_cast<absl::StatusCode>(i);
    counters.emplace(code, metrics.Counter(name, help, {{"code", CodeLabel(code)}}));
  }
  return counters;
}

}  // namespace

EngineMetrics::EngineMetrics(Metrics& metrics)
    : metrics_(metrics),
      step_seconds_(Seconds(metrics, "vl2_language_step_seconds", "Duration of an engine step.")),
      prefill_step_tokens_(StepTokens(metrics, "prefill")),
      decode_step_tokens_(StepTokens(metrics, "decode")),
      queue_seconds_(Seconds(metrics, "vl2_language_queue_seconds",
                             "From submission to admission, or to the end before it.")),
      prefill_seconds_(
          Seconds(metrics, "vl2_language_prefill_seconds", "From admission to the first token.")),
      decode_seconds_(Seconds(metrics, "vl2_language_decode_seconds",
                              "From the first token to the end, of calls with several tokens.")),
      upload_bytes_(
          metrics.Counter("vl2_language_upload_bytes_total", "Bytes of embeddings taken.")),
      cancelled_waiting_(Cancelled(metrics, "waiting")),
      cancelled_prefill_(Cancelled(metrics, "prefill")),
      cancelled_decode_(Cancelled(metrics, "decode")),
      calls_(ByCode(metrics, "vl2_language_calls_total", "Generate calls by how they ended.")),
      uploads_(ByCode(metrics, "vl2_language_uploads_total", "Uploads by how they ended.")) {}

void EngineMetrics::Watch(const Engine& engine) {
  metrics_.AddSource([&engine](MetricSamples& samples) {
    const EngineSnapshot now = engine.snapshot();
    const auto gauge = [&](const char* name, const char* help, int64_t value,
                           const MetricLabels& labels = {}) {
      samples.Gauge(name, help, static_cast<double>(value), labels);
    };
    const auto counter = [&](const char* name, const char* help, int64_t value,
                             const MetricLabels& labels = {}) {
      samples.Counter(name, help, static_cast<double>(value), labels);
    };
    for (const auto& [state, value] :
         {std::pair("waiting", now.num_waiting), std::pair("prefill", now.num_prefill),
          std::pair("decode", now.num_decode),
          std::pair("awaiting_embeddings", now.num_awaiting_embeddings)}) {
      gauge("vl2_language_sequences",
            "Sequences by what they do; waiting ones are not admitted yet.", value,
            {{"state", state}});
    }
    gauge("vl2_language_sequences_limit", "Sequences taken at most.",
          engine.options().max_sequences);
    gauge("vl2_language_clients", "Clients with a sequence.", now.num_clients);
    gauge("vl2_language_clients_waiting", "Clients with a sequence that is not admitted yet.",
          now.num_clients_waiting);
    for (const auto& [state, value] :
         {std::pair("used", now.num_blocks_in_use), std::pair("prefix", now.num_blocks_cached),
          std::pair("total", now.num_blocks)}) {
      gauge("vl2_language_cache_blocks",
            "Blocks of the paged cache: held by sequences, kept for prefixes (shared ones count in "
            "both), in all.",
            value, {{"state", state}});
    }
    gauge("vl2_language_embedding_bytes", "Host memory reserved for images' embeddings.",
          now.embedding_bytes);
    gauge("vl2_language_embedding_bytes_limit", "These at most.",
          engine.options().scheduler.max_embedding_bytes);
    gauge("vl2_language_pending_upload_bytes", "Uploaded bytes that the engine has not taken up.",
          now.pending_upload_bytes);
    gauge("vl2_language_pending_upload_bytes_limit", "These at most.",
          Engine::kMaxPendingUploadBytes);
    gauge("vl2_language_commands_queued", "Commands that the engine has not taken up.",
          now.num_commands);
    counter("vl2_language_preemptions_total", "Sequences that lost their blocks.",
            now.num_preemptions);
    counter("vl2_language_displaced_total", "Sequences ended in favour of another client's.",
            now.num_displaced);
    counter("vl2_language_slot_timeouts_total", "Sequences ended for want of embeddings.",
            now.num_slot_timeouts);
    counter("vl2_language_prefix_tokens_total", "Prompt tokens, found in the prefix cache or not.",
            now.num_cached_tokens, {{"hit", "true"}});
    counter("vl2_language_prefix_tokens_total", "Prompt tokens, found in the prefix cache or not.",
            now.num_prompt_tokens - now.num_cached_tokens, {{"hit", "false"}});
    counter("vl2_language_generated_tokens_total", "Tokens generated by ended sequences.",
            now.num_generated_tokens);
  });
}

void EngineMetrics::OnStep(const StepStats& step) {
  step_seconds_.Observe(step.ms / 1000);
  if (step.num_prompt_rows > 0) {
    prefill_step_tokens_.Observe(static_cast<double>(step.num_prompt_rows));
  }
  if (step.num_generated_rows > 0) {
    decode_step_tokens_.Observe(static_cast<double>(step.num_generated_rows));
  }
}

void EngineMetrics::OnCallEnd(const absl::Status& status, const GenerateStats& stats) {
  calls_.at(status.code()).Add();
  const bool has_token = stats.generated_tokens > 0;
  if (absl::IsCancelled(status)) {
    (has_token            ? cancelled_decode_
     : stats.was_admitted ? cancelled_prefill_
                          : cancelled_waiting_)
        .Add();
  }
  if (!stats.was_queued) return;  // refused before
  queue_seconds_.Observe(stats.queue_ms / 1000);
  if (!has_token) return;
  prefill_seconds_.Observe(stats.prefill_ms / 1000);
  if (stats.generated_tokens > 1) decode_seconds_.Observe(stats.decode_ms / 1000);
}

void EngineMetrics::OnUploadEnd(const absl::Status& status) { uploads_.at(status.code()).Add(); }

}  // namespace vl2
