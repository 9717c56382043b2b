// MakeReplicaChannel: a gRPC channel to one replica, from another service of this project.
//
// Keepalive notices within half a minute that a peer has vanished without a word; a replica that
// comes back is used again soon; no proxy of the environment is asked, and gRPC itself repeats no
// call. Which replica is tried next is decided by the caller.
//
// With TLS a replica is dialled by its address and known by the name in its certificate.
#pragma once

#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/security/credentials.h"

namespace vl2 {

struct ReplicaSecurity {
  std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr;  // null: no TLS
  std::string name = "";  // DNS name that the replica's certificate must have
};

// `address` is host:port.
std::shared_ptr<grpc::Channel> MakeReplicaChannel(const std::string& address,
                                                  const ReplicaSecurity& security = {});

}  // namespace vl2
