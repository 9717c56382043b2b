// ReportLoss: what the end of a call says about the replica it ran at.
//
// A call that the service itself has ended carries the service's state in its trailing metadata
// (runtime/rpc/call_gate.h). UNAVAILABLE without it comes from the transport: the replica is lost.
#pragma once

#include "absl/status/status.h"
#include "gateway/upstream/replica_set.h"
#include "grpcpp/client_context.h"

namespace vl2::gateway {

// To be called from OnDone.
void ReportLoss(const absl::Status& status, const grpc::ClientContext& context,
                ReplicaSet& replicas, Replica& replica);

}  // namespace vl2::gateway
