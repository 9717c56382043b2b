// Span: one piece of work with its times, as OpenTelemetry describes it; TracePoint: where in a
// trace the next pieces belong.
//
// A span that nobody records costs nothing: no memory, no lock, and all that is said of it is
// dropped. It still has a context, so that the trace of whoever asked goes on behind this service.
//
// Names and text attributes are words of this program, numbers, model names, addresses and ids;
// never what a client wrote. Times are steady ones; one reading of the wall clock at the beginning
// of a request, which its spans in this process share, turns them into dates, so that spans nest.
//
// Threading: a Span is used by one thread at a time; a TracePoint is immutable.
// Limits: kMaxEvents, kMaxAttributes and kMaxLinks of a span; more are counted and dropped.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "runtime/trace/trace_context.h"

namespace vl2 {

class Span;
class SpanQueue;

// OpenTelemetry's numbers.
enum class SpanKind { kInternal = 1, kServer = 2, kClient = 3 };

using SpanValue = std::variant<int64_t, double, bool, std::string>;
using SpanAttributes = std::vector<std::pair<std::string, SpanValue>>;

struct SpanEvent {
  int64_t unix_nanos = 0;
  std::string name;
  SpanAttributes attributes;
};

// What is exported of a span.
struct SpanRecord {
  static constexpr size_t kMaxEvents = 128;
  static constexpr size_t kMaxAttributes = 64;
  static constexpr size_t kMaxLinks = 16;

  TraceContext context;
  SpanId parent{};  // zeros: a root
  bool parent_is_remote = false;
  std::string name;
  SpanKind kind = SpanKind::kInternal;
  int64_t begin_unix_nanos = 0;
  int64_t end_unix_nanos = 0;
  SpanAttributes attributes;
  std::vector<SpanEvent> events;
  std::vector<TraceContext> links;
  int64_t num_dropped_attributes = 0;
  int64_t num_dropped_events = 0;
  int64_t num_dropped_links = 0;
  absl::StatusCode status = absl::StatusCode::kOk;
};

// A place in a trace. Cheap to copy. The default is no place: spans that begin there are not
// recorded.
class TracePoint {
 public:
  using Clock = std::chrono::steady_clock;

  TracePoint() = default;
  // A place that is only passed on.
  explicit TracePoint(const TraceContext& context) : context_(context) {}

  const TraceContext& context() const { return context_; }
  // Whether spans that begin here are recorded.
  bool recording() const { return queue_ != nullptr; }
  // A span below this place. Without recording it shares this place's context.
  Span Begin(std::string_view name, SpanKind kind, Clock::time_point begin = Clock::now()) const;

 private:
  friend class Span;
  friend class Tracer;

  TraceContext context_;
  std::shared_ptr<SpanQueue> queue_;  // null: nothing is recorded
  int64_t wall_nanos_ = 0;            // what is added to steady times
  bool is_remote_ = false;
};

class Span {
 public:
  using Clock = TracePoint::Clock;

  Span() = default;
  Span(Span&&) = default;
  Span& operator=(Span&& other);
  ~Span() { End(); }

  bool recording() const { return record_ != nullptr; }
  // Of this span, also when it is not recorded and after its end.
  const TraceContext& context() const { return point_.context(); }
  // Where spans below this one begin; outlives it.
  const TracePoint& point() const { return point_; }

  // A whole number, double, bool or text.
  template <typename T>
  void Set(std::string_view key, const T& value) {
    if (recording()) Add(std::string(key), MakeValue(value));
  }
  void AddEvent(std::string_view name, Clock::time_point when = Clock::now(),
                SpanAttributes attributes = {});
  // To a span of any trace; nothing when it is not valid().
  void AddLink(const TraceContext& context);
  // How it ended; the code alone, since messages may repeat what a client wrote.
  void SetStatus(const absl::Status& status);
  // Hands it over to be exported; once.
  void End(Clock::time_point end = Clock::now());

 private:
  friend class TracePoint;
  friend class Tracer;

  template <typename T>
  static SpanValue MakeValue(const T& value) {
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, double>) {
      return value;
    } else if constexpr (std::is_integral_v<T>) {
      return static_cast<int64_t>(value);
    } else {
      return std::string(value);
    }
  }
  void Add(std::string key, SpanValue value);
  int64_t UnixNanos(Clock::time_point time) const;

  TracePoint point_;
  std::unique_ptr<SpanRecord> record_;
};

}  // namespace vl2
