#include "runtime/rpc/trace_metadata.h"

#include <string_view>

namespace vl2 {

void AddTraceparent(const TraceContext& trace, grpc::ClientContext& context) {
  if (trace.valid()) context.AddMetadata(kTraceparentKey, FormatTraceparent(trace));
}

TraceContext TraceparentOf(const grpc::ServerContextBase& context) {
  const auto [begin, end] = context.client_metadata().equal_range(kTraceparentKey);
  if (begin == end || std::next(begin) != end) return {};
  return ParseTraceparent(std::string_view(begin->second.data(), begin->second.size()));
}

}  // namespace vl2
