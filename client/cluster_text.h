// ClusterText: what "vl2 info" shows, for people.
//
// Pure function. Names and messages of others are made harmless for a terminal.
#pragma once

#include <string>

#include "vl2/v1/chat.pb.h"

namespace vl2::client {

// Lines, the last with its end. `server`: the address that was asked.
std::string ClusterText(const std::string& server, const v1::ClusterInfo& cluster);

}  // namespace vl2::client
