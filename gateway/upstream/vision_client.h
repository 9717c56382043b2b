// VisionClient: VisionUpstream over gRPC.
//
// Threading: thread-safe; events come on gRPC's threads.
// Errors: as VisionUpstream; a service's own codes arrive unchanged.
#pragma once

#include <memory>

#include "gateway/session/upstream.h"
#include "gateway/upstream/replica_set.h"

namespace vl2::gateway {

class VisionClient final : public VisionUpstream {
 public:
  // `replicas` outlives this and all of its streams. With `whole_picture_first` nothing is uploaded
  // before a picture is encoded as a whole (for measurements).
  VisionClient(ReplicaSet* replicas, bool whole_picture_first)
      : replicas_(replicas), whole_picture_first_(whole_picture_first) {}

  absl::StatusOr<std::shared_ptr<ImageStream>> Open(const ImageRequest& request,
                                                    ImageSink sink) override;

  // For ReplicaSet: GetModelInfo of a vision service.
  static absl::StatusOr<v1::ModelInfo> Probe(const std::shared_ptr<grpc::Channel>& channel,
                                             std::chrono::milliseconds timeout);

 private:
  ReplicaSet* const replicas_;
  const bool whole_picture_first_;
};

}  // namespace vl2::gateway
