#include "runtime/trace/otlp_json.h"

#include <cmath>
#include <cstdlib>
#include <utility>

#include "runtime/base/json.h"

namespace vl2 {
namespace {

constexpr int kStatusError = 2;
// SpanFlags: the trace's flags, whether the parent's remoteness is known, and what it is.
constexpr uint32_t kHasIsRemote = 0x100;
constexpr uint32_t kIsRemote = 0x200;

std::string Text(int64_t number) { return std::to_string(number); }

Json ValueOf(const SpanValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return {{"intValue", Text(*number)}};
  if (const auto* truth = std::get_if<bool>(&value)) return {{"boolValue", *truth}};
  if (const auto* real = std::get_if<double>(&value)) {
    // JSON has no such numbers; protobuf's mapping has words for them.
    if (std::isnan(*real)) return {{"doubleValue", "NaN"}};
    if (std::isinf(*real)) return {{"doubleValue", *real > 0 ? "Infinity" : "-Infinity"}};
    return {{"doubleValue", *real}};
  }
  return {{"stringValue", std::get<std::string>(value)}};
}

Json AttributesOf(const SpanAttributes& attributes) {
  Json list = Json::array();
  for (const auto& [key, value] : attributes) {
    list.push_back({{"key", key}, {"value", ValueOf(value)}});
  }
  return list;
}

uint32_t FlagsOf(const TraceContext& context, bool is_remote) {
  return (context.sampled ? 1u : 0u) | kHasIsRemote | (is_remote ? kIsRemote : 0u);
}

Json SpanOf(const SpanRecord& record) {
  Json span = {{"traceId", ToHex(record.context.trace_id)},
               {"spanId", ToHex(record.context.span_id)},
               {"flags", FlagsOf(record.context, record.parent_is_remote)},
               {"name", record.name},
               {"kind", static_cast<int>(record.kind)},
               {"startTimeUnixNano", Text(record.begin_unix_nanos)},
               {"endTimeUnixNano", Text(record.end_unix_nanos)},
               {"attributes", AttributesOf(record.attributes)}};
  if (record.parent != SpanId{}) span["parentSpanId"] = ToHex(record.parent);
  for (const SpanEvent& event : record.events) {
    span["events"].push_back({{"timeUnixNano", Text(event.unix_nanos)},
                              {"name", event.name},
                              {"attributes", AttributesOf(event.attributes)}});
  }
  for (const TraceContext& link : record.links) {
    span["links"].push_back({{"traceId", ToHex(link.trace_id)},
                             {"spanId", ToHex(link.span_id)},
                             {"flags", FlagsOf(link, false)}});
  }
  for (const auto& [key, count] :
       {std::pair("droppedAttributesCount", record.num_dropped_attributes),
        std::pair("droppedEventsCount", record.num_dropped_events),
        std::pair("droppedLinksCount", record.num_dropped_links)}) {
    if (count > 0) span[key] = count;
  }
  if (record.status != absl::StatusCode::kOk) span["status"] = {{"code", kStatusError}};
  return span;
}

}  // namespace

std::string OtlpJson(const SpanSource& source, const SpanQueue::Batch& spans) {
  Json list = Json::array();
  for (const auto& span : spans) list.push_back(SpanOf(*span));
  const Json resource = {{"attributes", AttributesOf({{"service.namespace", "vl2serve"},
                                                      {"service.name", source.service_name},
                                                      {"service.instance.id", source.instance_id},
                                                      {"service.version", source.version}})}};
  const Json scope = {{"name", "vl2serve"}, {"version", source.version}};
  const Json request = {
      {"resourceSpans",
       Json::array({{{"resource", resource},
                     {"scopeSpans", Json::array({{{"scope", scope}, {"spans", list}}})}}})}};
  return request.dump(-1, ' ', false, Json::error_handler_t::replace);
}

int64_t RejectedSpans(std::string_view answer) {
  const auto json = ParseJson(answer, {.max_bytes = size_t{64} << 10, .max_depth = 8});
  if (!json.ok() || !json->is_object()) return 0;
  const auto partial = json->find("partialSuccess");
  if (partial == json->end() || !partial->is_object()) return 0;
  const auto rejected = partial->find("rejectedSpans");
  if (rejected == partial->end()) return 0;
  if (rejected->is_number_integer()) return rejected->get<int64_t>();
  return rejected->is_string() ? std::atoll(rejected->get<std::string>().c_str()) : 0;
}

}  // namespace vl2
