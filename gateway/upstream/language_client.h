// LanguageClient: LanguageUpstream over gRPC.
//
// Threading: thread-safe; events come on gRPC's threads. Every call ends before the destructor
// returns. Errors: as LanguageUpstream; a service's own codes arrive unchanged.
#pragma once

#include <cstdint>
#include <memory>

#include "gateway/session/upstream.h"
#include "gateway/upstream/replica_set.h"

namespace vl2::gateway {

class LanguageClient final : public LanguageUpstream {
 public:
  // `replicas` outlives this and all of its calls.
  explicit LanguageClient(ReplicaSet* replicas) : replicas_(replicas) {}

  int64_t max_context_tokens(const std::string& model_id) const override;
  absl::StatusOr<std::shared_ptr<GenerateStream>> Generate(const GenerateCall& call,
                                                           GenerateSink sink) override;

  // For ReplicaSet: GetModelInfo of a language service.
  static absl::StatusOr<v1::ModelInfo> Probe(const std::shared_ptr<grpc::Channel>& channel,
                                             std::chrono::milliseconds timeout);

 private:
  ReplicaSet* const replicas_;
};

}  // namespace vl2::gateway
