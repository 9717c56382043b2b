#include "gateway/session/request_record.h"

#include <chrono>
#include <cmath>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "runtime/base/error_details.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

// A thousandth of a millisecond is all that anybody wants to read.
double Rounded(double ms) { return std::round(ms * 1000) / 1000; }

void AddCounts(const ChatEnd& end, std::vector<LogField>& fields) {
  fields.emplace_back("prompt_tokens", end.prompt_tokens);
  fields.emplace_back("cached_tokens", end.cached_tokens);
  fields.emplace_back("completion_tokens", end.generated_tokens);
  fields.emplace_back("images", end.num_images);
  fields.emplace_back("tiles", end.num_tiles);
  fields.emplace_back("reused_tiles", end.num_reused_tiles);
  fields.emplace_back("wait_ms", Rounded(end.wait_ms));
  fields.emplace_back("encode_ms", Rounded(end.encode_ms));
  fields.emplace_back("prefill_ms", Rounded(end.prefill_ms));
  fields.emplace_back("first_token_ms", Rounded(end.first_token_ms));
  fields.emplace_back("language", end.language_replica.empty() ? "-" : end.language_replica);
  fields.emplace_back("vision", end.vision_replicas.empty() ? "-" : end.vision_replicas);
  fields.emplace_back("language_retries", end.num_language_retries);
  fields.emplace_back("vision_retries", end.num_vision_retries);
}

std::string CodeName(const absl::Status& status) {
  return absl::AsciiStrToLower(absl::StatusCodeToString(status.code()));
}

// Whose fault it was: what is the client's is no error of the server.
bool IsServersFault(const absl::Status& status) {
  return absl::IsInternal(status) || absl::IsUnavailable(status) ||
         absl::IsDeadlineExceeded(status) || absl::IsUnknown(status);
}

}  // namespace

RequestRecord::RequestRecord(const Tracer* tracer, std::string_view api, std::string_view name,
                             const TraceContext& parent)
    : api_(api), end_(begin_) {
  const TracePoint point = tracer != nullptr ? tracer->Join(parent) : TracePoint(parent);
  span_ = point.Begin(name, SpanKind::kServer, begin_);
  trace_ = span_.point();
}

RequestRecord::~RequestRecord() {
  MutexLock lock(&mutex_);
  const absl::Status status = status_.value_or(absl::CancelledError("nobody waits for it"));
  WriteLine(status);
  EndSpan(status);
}

void RequestRecord::SetRequestId(const std::string& id) {
  MutexLock lock(&mutex_);
  request_id_ = id;
}

void RequestRecord::SetClient(const std::string& name) {
  MutexLock lock(&mutex_);
  client_ = name;
}

void RequestRecord::End(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (status_) return;
  status_ = status;
  end_ = Clock::now();
}

void RequestRecord::Hear(const ChatEvent& event) {
  const auto* end = std::get_if<ChatEnd>(&event);
  if (end == nullptr) return;
  MutexLock lock(&mutex_);
  session_end_ = *end;
  // The session's spans lie inside of this one.
  if (status_) end_ = Clock::now();
}

void RequestRecord::WriteLine(const absl::Status& status) {
  const TraceContext& trace = trace_.context();
  std::vector<LogField> fields = {
      {"request", request_id_},
      {"trace", trace.valid() ? ToHex(trace.trace_id) : "-"},
      {"api", api_},
      {"client", client_},
      {"code", CodeName(status)},
      {"ms", Rounded(std::chrono::duration<double, std::milli>(end_ - begin_).count())}};
  if (const std::string field = ParamOf(status); !field.empty()) {
    fields.emplace_back("field", field);
  }
  if (!status.ok()) fields.emplace_back("error", ReasonOf(status));
  if (session_end_) AddCounts(*session_end_, fields);
  Log(Severity::kInfo, "request", fields);
}

void RequestRecord::EndSpan(const absl::Status& status) {
  if (!span_.recording()) return;
  span_.Set("vl2.request_id", request_id_);
  span_.Set("vl2.client", client_);
  if (IsServersFault(status)) {
    span_.SetStatus(status);
  } else if (!status.ok()) {
    span_.Set("error.type", CodeName(status));
  }
  span_.End(end_);
}

}  // namespace vl2::gateway
