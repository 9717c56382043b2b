// MakeReplicaChannel: a gRPC channel to one replica, from another service of this project.
//
// Keepalive notices within half a minute that a peer has vanished without a word; a replica that
// comes back is used again soon; no proxy of the environment is asked, and gRPC itself repeats no
// call. Which replica is tried next is decided by the caller.
#pragma once

#include <memory>
#include <string>

#include "grpcpp/channel.h"

namespace vl2 {

// `address` is host:port.
std::shared_ptr<grpc::Channel> MakeReplicaChannel(const std::string& address);

}  // namespace vl2
