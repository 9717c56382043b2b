// Upstreams: the model services that this gateway has joined.
//
// Replicas of one model, told apart by model_id, are a pool; a pool with a replica of both services
// is complete. A request stays in the pool it began in, since images of one model mean nothing to
// another. New requests go to the complete pool named by --model_id, else to the one in use while
// it is complete, else to the largest: a new model's pods change nothing before they are complete,
// and nothing is refused while any pool is.
//
// Owns: both replica sets and their clients. Threading: thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/upstream/language_client.h"
#include "gateway/upstream/replica_set.h"
#include "gateway/upstream/vision_client.h"
#include "runtime/base/mutex.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::gateway {

struct UpstreamOptions {
  std::string language_targets;  // comma-separated host:port
  std::string vision_targets;
  std::string model_id;  // the pool that new requests prefer; empty: none
  bool whole_picture_first = false;
  std::chrono::milliseconds resolve_interval{5000};
  std::chrono::milliseconds probe_interval{1000};
  std::chrono::milliseconds probe_timeout{3000};
  std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr;  // null: no TLS
};

class Upstreams {
 public:
  static absl::StatusOr<std::unique_ptr<Upstreams>> Start(const UpstreamOptions& options);

  struct Pool {
    int num_language = 0;
    int num_vision = 0;
    bool complete() const { return num_language > 0 && num_vision > 0; }
  };

  // The model id of the pool that a new request goes to. Without a complete pool: one that has what
  // the request needs, which without images is a language replica. UNAVAILABLE otherwise.
  absl::StatusOr<std::string> PoolForRequest(bool with_images);
  // By model id.
  std::map<std::string, Pool> pools() const;
  // OK when there is a complete pool; UNAVAILABLE otherwise.
  absl::Status Ready() const;
  // Of a language replica of the pool in use, when Ready().
  absl::StatusOr<v1::ModelInfo> ModelInfo();

  // The services as this gateway sees them; model_name and limits are left to the caller.
  v1::ClusterInfo ClusterInfo();

  LanguageUpstream& language() { return *language_; }
  VisionUpstream& vision() { return *vision_; }
  const ReplicaSet& language_replicas() const { return *language_replicas_; }
  const ReplicaSet& vision_replicas() const { return *vision_replicas_; }

 private:
  std::string preferred_;
  Mutex mutex_;
  std::string in_use_ ABSL_GUARDED_BY(mutex_);  // model id
  std::unique_ptr<ReplicaSet> language_replicas_;
  std::unique_ptr<ReplicaSet> vision_replicas_;
  std::unique_ptr<LanguageClient> language_;
  std::unique_ptr<VisionClient> vision_;
};

}  // namespace vl2::gateway
