// The process_* metrics that Prometheus' own client libraries export, from /proc.
#pragma once

#include "runtime/rpc/metrics.h"

namespace vl2 {

void CollectProcessMetrics(MetricSamples& samples);

}  // namespace vl2
