// OTLP's JSON form of spans (opentelemetry-proto, ExportTraceServiceRequest): ids in hexadecimal,
// 64-bit numbers as text, enumerations as numbers.
//
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/trace/span_queue.h"

namespace vl2 {

// Who made the spans.
struct SpanSource {
  std::string service_name = {};
  std::string instance_id = {};
  std::string version = {};
};

// The body of a POST to /v1/traces. Valid JSON whatever the texts hold.
std::string OtlpJson(const SpanSource& source, const SpanQueue::Batch& spans);

// How many spans an answer says were not taken; 0 for what cannot be read.
int64_t RejectedSpans(std::string_view answer);

}  // namespace vl2
