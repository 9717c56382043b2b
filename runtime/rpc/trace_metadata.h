// What travels in gRPC metadata beside a call: its place in a trace ("traceparent").
//
// Pure functions over contexts.
#pragma once

#include "grpcpp/client_context.h"
#include "grpcpp/server_context.h"
#include "runtime/trace/trace_context.h"

namespace vl2 {

inline constexpr char kTraceparentKey[] = "traceparent";

// Nothing when the context is not valid().
void AddTraceparent(const TraceContext& trace, grpc::ClientContext& context);

// Not valid() when there is none, a broken one, or more than one.
TraceContext TraceparentOf(const grpc::ServerContextBase& context);

}  // namespace vl2
