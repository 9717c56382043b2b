#include "runtime/trace/span.h"

#include <algorithm>

#include "runtime/trace/span_queue.h"

namespace vl2 {
namespace {

std::string CodeName(absl::StatusCode code) {
  std::string name = absl::StatusCodeToString(code);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name;
}

}  // namespace

Span TracePoint::Begin(std::string_view name, SpanKind kind, Clock::time_point begin) const {
  Span span;
  span.point_ = *this;
  if (!recording()) return span;
  span.point_.context_.span_id = MakeSpanId();
  span.point_.is_remote_ = false;
  span.record_ = std::make_unique<SpanRecord>();
  SpanRecord& record = *span.record_;
  record.context = span.context();
  record.parent = context_.span_id;
  record.parent_is_remote = is_remote_;
  record.name = std::string(name);
  record.kind = kind;
  record.begin_unix_nanos = span.UnixNanos(begin);
  return span;
}

Span& Span::operator=(Span&& other) {
  if (this != &other) {
    End();
    point_ = std::move(other.point_);
    record_ = std::move(other.record_);
  }
  return *this;
}

int64_t Span::UnixNanos(Clock::time_point time) const {
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch());
  return since.count() + point_.wall_nanos_;
}

void Span::Add(std::string key, SpanValue value) {
  if (record_->attributes.size() >= SpanRecord::kMaxAttributes) {
    ++record_->num_dropped_attributes;
    return;
  }
  record_->attributes.emplace_back(std::move(key), std::move(value));
}

void Span::AddEvent(std::string_view name, Clock::time_point when, SpanAttributes attributes) {
  if (!recording()) return;
  if (record_->events.size() >= SpanRecord::kMaxEvents) {
    ++record_->num_dropped_events;
    return;
  }
  record_->events.push_back({UnixNanos(when), std::string(name), std::move(attributes)});
}

void Span::AddLink(const TraceContext& context) {
  if (!recording() || !context.valid()) return;
  if (record_->links.size() >= SpanRecord::kMaxLinks) {
    ++record_->num_dropped_links;
    return;
  }
  record_->links.push_back(context);
}

void Span::SetStatus(const absl::Status& status) {
  if (!recording() || status.ok()) return;
  record_->status = status.code();
  Set("error.type", CodeName(status.code()));
}

void Span::End(Clock::time_point end) {
  if (!recording()) return;
  record_->end_unix_nanos = std::max(UnixNanos(end), record_->begin_unix_nanos);
  point_.queue_->Push(std::move(record_));
}

}  // namespace vl2
