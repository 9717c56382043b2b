// HttpPost: one request over plain HTTP to a collector, with a deadline that may still move.
//
// Errors: INVALID_ARGUMENT for an address that cannot be one, UNAVAILABLE with what failed.
// Threading: thread-safe. Resolving the host's name may block longer than the deadline, as long as
// a name server is silent.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vl2 {

struct HttpEndpoint {
  std::string host;  // without brackets
  int port = 0;
  std::string path;  // "" or "/something", no slash at its end

  std::string ToString() const;  // host:port
};

// "http://host[:port][/path]"; without a port `default_port`.
absl::StatusOr<HttpEndpoint> ParseHttpEndpoint(std::string_view address, int default_port);

struct HttpAnswer {
  int status = 0;
  std::string body;  // at most kMaxAnswerBytes, as it came
};

inline constexpr size_t kMaxAnswerBytes = size_t{64} << 10;

// Posts JSON to endpoint.path + `path`. `deadline` is asked again and again.
absl::StatusOr<HttpAnswer> HttpPost(
    const HttpEndpoint& endpoint, std::string_view path, std::string_view body,
    const std::function<std::chrono::steady_clock::time_point()>& deadline);

}  // namespace vl2
