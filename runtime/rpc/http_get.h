// HttpGet: one short question over plain HTTP to a listener of this project, for --probe.
//
// A host that stands for every address (0.0.0.0, [::]) is asked on loopback. The body of a 200;
// UNAVAILABLE with status line or reason otherwise, after kTimeoutSeconds at most.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace vl2 {

inline constexpr int kTimeoutSeconds = 5;

absl::StatusOr<std::string> HttpGet(const std::string& host_port, const std::string& path);

}  // namespace vl2
