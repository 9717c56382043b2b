#include "runtime/rpc/call_span.h"

#include "runtime/base/status.h"
#include "runtime/rpc/trace_metadata.h"

namespace vl2 {
namespace {

void BeginRpcSpan(const TracePoint& parent, SpanKind kind, const RpcMethod& method, Span& span) {
  if (!parent.recording()) {
    span = parent.Begin({}, kind);
    return;
  }
  span = parent.Begin(Cat(method.service, "/", method.name), kind);
  span.Set("rpc.system", "grpc");
  span.Set("rpc.service", method.service);
  span.Set("rpc.method", method.name);
}

}  // namespace

Span BeginServerSpan(const Tracer* tracer, const grpc::ServerContextBase& context,
                     const RpcMethod& method) {
  const TraceContext caller = TraceparentOf(context);
  Span span;
  BeginRpcSpan(tracer != nullptr ? tracer->Join(caller) : TracePoint(caller), SpanKind::kServer,
               method, span);
  return span;
}

void EndRpcSpan(const absl::Status& status, Span& span, Span::Clock::time_point end) {
  span.Set("rpc.grpc.status_code", status.raw_code());
  if (!absl::IsCancelled(status)) span.SetStatus(status);
  span.End(end);
}

void CallSpan::Begin(const TracePoint& parent, const RpcMethod& method, const std::string& address,
                     const TraceContext& lost, grpc::ClientContext& context) {
  MutexLock lock(&mutex_);
  BeginRpcSpan(parent, SpanKind::kClient, method, span_);
  span_.Set("server.address", address);
  span_.AddLink(lost);
  context_ = span_.context();
  AddTraceparent(context_, context);
}

void CallSpan::End(const absl::Status& status) {
  MutexLock lock(&mutex_);
  EndRpcSpan(status, span_);
}

}  // namespace vl2
