// Spans of gRPC calls between services, and the traceparent that goes with them.
//
// A call's SERVER span lies below its caller's CLIENT span. Attributes are those of OpenTelemetry's
// conventions for RPC. A call that its caller gave up is no error.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/server_context.h"
#include "runtime/base/mutex.h"
#include "runtime/trace/span.h"
#include "runtime/trace/tracer.h"

namespace vl2 {

// Which method: {"vl2.v1.VisionService", "Encode"}.
struct RpcMethod {
  const char* service;
  const char* name;
};

// `tracer` may be null: then the caller's trace is only passed on.
Span BeginServerSpan(const Tracer* tracer, const grpc::ServerContextBase& context,
                     const RpcMethod& method);
void EndRpcSpan(const absl::Status& status, Span& span,
                Span::Clock::time_point end = Span::Clock::now());

// The CLIENT span of a call. It ends with the call, or when the call is given up, whichever comes
// first. Threading: thread-safe after Begin.
class CallSpan {
 public:
  // Adds the traceparent to `context`; before the call starts. `lost` is the call that this one
  // takes the place of, not valid() when there is none.
  void Begin(const TracePoint& parent, const RpcMethod& method, const std::string& address,
             const TraceContext& lost, grpc::ClientContext& context);
  void End(const absl::Status& status);
  const TraceContext& context() const { return context_; }

 private:
  TraceContext context_;
  Mutex mutex_;
  Span span_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2
