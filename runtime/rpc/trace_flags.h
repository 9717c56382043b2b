// StartTracer: a service's tracer as --otlp_endpoint and --trace_ratio say, with its metrics.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/rpc/metrics_port.h"
#include "runtime/trace/tracer.h"

namespace vl2 {

// `service` is "gateway", "language" or "vision": the name in metrics (vl2_<service>_spans_…), and
// with "vl2-" before it the one in traces.
absl::StatusOr<std::unique_ptr<Tracer>> StartTracer(const std::string& service, MetricsPort& port);

}  // namespace vl2
