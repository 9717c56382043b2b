// Tracer: decides which requests are recorded, and exports their spans to an OpenTelemetry
// collector (OTLP over HTTP, in its JSON form).
//
// Whoever asked with a trace of its own has decided already: its "sampled" flag counts, and so does
// its lack. Without one, a share of all requests is recorded. With no endpoint nothing is recorded
// and nothing is exported; traces of others are passed on as they came.
//
// Owns: the queue of ended spans, one thread that exports them in batches. Threading: thread-safe.
// Errors: none to requests. Spans that find the queue full, or that the collector does not take
// after a few attempts, are dropped and counted.
// Limits: TracerOptions. The destructor exports what waits, for shutdown_timeout at most.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/trace/otlp_json.h"
#include "runtime/trace/span.h"
#include "runtime/trace/trace_context.h"

namespace vl2 {

struct TracerOptions {
  std::string endpoint = {};  // "http://collector:4318"; empty: off
  double ratio = 1;           // of the requests that come without a trace
  SpanSource source = {};     // instance_id empty: a random one
  size_t max_queued_spans = 8192;
  size_t max_batch_spans = 512;
  std::chrono::milliseconds batch_interval{500};
  std::chrono::milliseconds post_timeout{5000};
  int max_attempts = 3;
  std::chrono::milliseconds retry_pause{500};  // doubles
  std::chrono::milliseconds shutdown_timeout{2000};

  // INVALID_ARGUMENT names the value.
  absl::Status Validate() const;
};

struct TracerCounts {
  int64_t num_queued = 0;
  int64_t max_queued = 0;
  int64_t num_exported = 0;
  int64_t num_not_queued = 0;     // dropped: the queue was full
  int64_t num_not_delivered = 0;  // dropped: the collector did not take them
};

class Tracer {
 public:
  static absl::StatusOr<std::unique_ptr<Tracer>> Make(const TracerOptions& options);
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  bool enabled() const { return exporter_ != nullptr; }
  // Where the spans of a request begin that came with `parent`, which is not valid() when it came
  // with none.
  TracePoint Join(const TraceContext& parent) const;

  // Lives on when the tracer has gone; for metrics.
  class Exporter;
  const std::shared_ptr<Exporter>& exporter() const { return exporter_; }
  static TracerCounts Counts(const std::shared_ptr<Exporter>& exporter);  // null: zeros

 private:
  explicit Tracer(const TracerOptions& options) : options_(options) {}

  const TracerOptions options_;
  std::shared_ptr<Exporter> exporter_;  // null: off
};

}  // namespace vl2
