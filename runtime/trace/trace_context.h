// TraceContext: which trace a piece of work belongs to, as W3C Trace Context says it over the wire
// ("traceparent"): version-trace-parent-flags, all lower-case hexadecimal.
//
// Plain values, pure functions. A header that is not exactly one of the standard's is as good as
// none: whoever sends it may be anybody.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace vl2 {

using TraceId = std::array<uint8_t, 16>;
using SpanId = std::array<uint8_t, 8>;

struct TraceContext {
  TraceId trace_id{};
  SpanId span_id{};  // the parent of what comes next
  bool sampled = false;

  // Whether there is a trace at all: ids of zeros stand for none.
  bool valid() const { return trace_id != TraceId{} && span_id != SpanId{}; }
  friend bool operator==(const TraceContext&, const TraceContext&) = default;
};

// The context that a header tells; not valid() for anything that the standard calls invalid:
// another length, capital letters, version ff, zero ids. A later version may say more behind the
// flags.
TraceContext ParseTraceparent(std::string_view header);

// "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01". REQUIRES: context.valid().
std::string FormatTraceparent(const TraceContext& context);

std::string ToHex(const TraceId& id);
std::string ToHex(const SpanId& id);

// Random ids, never zero. Thread-safe.
TraceId MakeTraceId();
SpanId MakeSpanId();

// Whether a trace is among the share `ratio` of all, in [0, 1]: by its id alone, so that every
// service says the same.
bool IsInRatio(const TraceId& id, double ratio);

}  // namespace vl2
