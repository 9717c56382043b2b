#include "runtime/rpc/trace_flags.h"

#include "absl/flags/flag.h"
#include "runtime/base/status.h"

ABSL_FLAG(std::string, otlp_endpoint, "",
          "Address of an OpenTelemetry collector that takes OTLP over HTTP, such as "
          "http://collector:4318; empty: no traces.");
ABSL_FLAG(double, trace_ratio, 0.01,
          "Share of the requests that are traced, 0 to 1, among those that come without a trace of "
          "their own (traceparent); of the others, that says whether.");

namespace vl2 {

absl::StatusOr<std::unique_ptr<Tracer>> StartTracer(const std::string& service, MetricsPort& port) {
  TracerOptions options;
  options.endpoint = absl::GetFlag(FLAGS_otlp_endpoint);
  options.ratio = absl::GetFlag(FLAGS_trace_ratio);
  options.source.service_name = "vl2-" + service;
  options.source.version = VL2_VERSION;
  VL2_ASSIGN_OR_RETURN(auto tracer, Tracer::Make(options));
  port.metrics().AddSource(
      [exporter = tracer->exporter(), prefix = "vl2_" + service](MetricSamples& samples) {
        const TracerCounts counts = Tracer::Counts(exporter);
        const std::string dropped = prefix + "_spans_dropped_total";
        const std::string help =
            "Spans that were not delivered: the queue was full, or the collector took none.";
        samples.Counter(dropped, help, static_cast<double>(counts.num_not_queued),
                        {{"reason", "queue"}});
        samples.Counter(dropped, help, static_cast<double>(counts.num_not_delivered),
                        {{"reason", "collector"}});
        samples.Counter(prefix + "_spans_exported_total", "Spans that the collector has taken.",
                        static_cast<double>(counts.num_exported));
        samples.Gauge(prefix + "_spans_queued", "Spans that wait to be exported.",
                      static_cast<double>(counts.num_queued));
        samples.Gauge(prefix + "_spans_queued_limit", "These at most; 0: traces are off.",
                      static_cast<double>(counts.max_queued));
      });
  return tracer;
}

}  // namespace vl2
