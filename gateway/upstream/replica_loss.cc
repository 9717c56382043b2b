#include "gateway/upstream/replica_loss.h"

#include "runtime/rpc/call_gate.h"

namespace vl2::gateway {

void ReportLoss(const absl::Status& status, const grpc::ClientContext& context,
                ReplicaSet& replicas, Replica& replica) {
  if (!absl::IsUnavailable(status)) return;
  const auto& trailer = context.GetServerTrailingMetadata();
  const auto state = trailer.find(CallGate::kStateKey);
  if (state == trailer.end()) {
    replicas.ReportUnreachable(replica);
  } else if (state->second == CallGate::kDraining) {
    replicas.ReportDraining(replica);
  }
}

}  // namespace vl2::gateway
