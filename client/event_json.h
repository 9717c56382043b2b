// Events and cluster information as JSON, for scripts. Field names are those of the protos; numbers
// are numbers (protobuf's own mapping makes strings of 64-bit ones).
//
// Pure functions; one line without its end.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::client {

// {"event": "progress" | "text" | "boxes" | "sample_end" | "end", …}; empty for one of no known
// kind.
std::string EventJson(const v1::ChatEvent& event);
// {"event": "error", "code": "INVALID_ARGUMENT", "message": …}
std::string ErrorJson(const absl::Status& status);
std::string ClusterJson(const v1::ClusterInfo& cluster);

}  // namespace vl2::client
