// Upstreams: the model services that this gateway has joined.
//
// Owns: both replica sets and their clients. Threading: thread-safe.
// Errors: FAILED_PRECONDITION while replicas run different models: then nothing is served, since
// pictures of one model mean nothing to another.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/upstream/language_client.h"
#include "gateway/upstream/replica_set.h"
#include "gateway/upstream/vision_client.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::gateway {

struct UpstreamOptions {
  std::string language_targets;  // comma-separated host:port
  std::string vision_targets;
  bool whole_picture_first = false;
  std::chrono::milliseconds probe_interval{1000};
  std::chrono::milliseconds probe_timeout{3000};
};

class Upstreams {
 public:
  static absl::StatusOr<std::unique_ptr<Upstreams>> Start(const UpstreamOptions& options);

  // OK when all replicas that answer run the same model.
  absl::Status Joined() const;
  // Joined(), and both services answer; UNAVAILABLE otherwise.
  absl::Status Ready() const;
  // Of a language replica, when Ready().
  absl::StatusOr<v1::ModelInfo> ModelInfo() const;

  // The services as this gateway sees them; model_name and limits are left to the caller.
  v1::ClusterInfo ClusterInfo() const;

  LanguageUpstream& language() { return *language_; }
  VisionUpstream& vision() { return *vision_; }
  const ReplicaSet& language_replicas() const { return *language_replicas_; }
  const ReplicaSet& vision_replicas() const { return *vision_replicas_; }

 private:
  std::unique_ptr<ReplicaSet> language_replicas_;
  std::unique_ptr<ReplicaSet> vision_replicas_;
  std::unique_ptr<LanguageClient> language_;
  std::unique_ptr<VisionClient> vision_;
};

}  // namespace vl2::gateway
