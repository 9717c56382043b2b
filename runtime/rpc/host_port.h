// Addresses of listeners and peers as text: "host:port", "[v6 address]:port".
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace vl2 {

struct HostPort {
  std::string host;  // without brackets
  int port = 0;      // 0..65535

  // With brackets around a version 6 address.
  std::string ToString() const;
};

// INVALID_ARGUMENT names the text. The port is required.
absl::StatusOr<HostPort> ParseHostPort(const std::string& text);

// INVALID_ARGUMENT unless `advertise` is empty (the address that a peer has dialled) or host:port
// with a port that can be dialled.
absl::Status CheckAdvertised(const std::string& advertise);

}  // namespace vl2
