// RequestRecord: one chat request as its operators see it: a SERVER span, and one line in the log
// when it ends, however it ends.
//
// The line names the request, its trace, the client's key by its name, a code, counts and times; a
// field at fault by its name. Nothing that a client wrote is repeated, messages of errors included.
//
// Shared by whoever answers the request and by its session; when both have let go of it, it is
// written. So what a session has counted is there also when the client has left.
//
// Threading: thread-safe; trace() is there from the start and does not change.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "gateway/session/chat_task.h"
#include "runtime/base/mutex.h"
#include "runtime/trace/span.h"
#include "runtime/trace/tracer.h"

namespace vl2::gateway {

class RequestRecord {
 public:
  // `api` is "http" or "grpc"; `tracer` may be null.
  RequestRecord(const Tracer* tracer, std::string_view api, std::string_view name,
                const TraceContext& parent);
  // Writes the line and ends the span.
  ~RequestRecord();
  RequestRecord(const RequestRecord&) = delete;
  RequestRecord& operator=(const RequestRecord&) = delete;

  // Where the request's spans begin.
  const TracePoint& trace() const { return trace_; }
  void SetRequestId(const std::string& id);
  // A key's name.
  void SetClient(const std::string& name);
  // For the span alone: a text, number or bool.
  template <typename T>
  void Set(std::string_view key, const T& value) {
    MutexLock lock(&mutex_);
    span_.Set(key, value);
  }
  // How it has ended for the client. The first call counts; without one it was cancelled.
  void End(const absl::Status& status);
  // The session's last event, if it is one.
  void Hear(const ChatEvent& event);

 private:
  void WriteLine(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndSpan(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string api_;
  const Clock::time_point begin_ = Clock::now();
  TracePoint trace_;

  Mutex mutex_;
  Span span_ ABSL_GUARDED_BY(mutex_);
  std::string request_id_ ABSL_GUARDED_BY(mutex_);
  std::string client_ ABSL_GUARDED_BY(mutex_) = "-";
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
  std::optional<ChatEnd> session_end_ ABSL_GUARDED_BY(mutex_);
  Clock::time_point end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2::gateway
