// The name of a request: in the logs of all services, and in X-Request-Id.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vl2::gateway {

inline constexpr size_t kMaxRequestIdBytes = 128;

// Whether a client's own name can be taken: 1 to kMaxRequestIdBytes printable ASCII characters
// without spaces, so that it can stand in a header and in a line of a log.
bool IsRequestId(std::string_view text);

// A random one. Thread-safe.
std::string MakeRequestId();

}  // namespace vl2::gateway
