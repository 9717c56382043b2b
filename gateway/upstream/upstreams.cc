#include "gateway/upstream/upstreams.h"

#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

void Fill(const ReplicaState& from, v1::ReplicaInfo& to) {
  to.set_address(from.address);
  to.set_healthy(from.healthy);
  to.set_failure(from.failure);
  to.set_outstanding_calls(from.num_outstanding);
  if (!from.info) return;
  *to.mutable_info() = *from.info;
  to.mutable_info()->clear_config_json();
  to.mutable_info()->clear_processor_config_json();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Upstreams>> Upstreams::Start(const UpstreamOptions& options) {
  auto upstreams = std::make_unique<Upstreams>();
  ReplicaSetOptions language;
  language.service = "language";
  language.targets = options.language_targets;
  language.probe_interval = options.probe_interval;
  language.probe_timeout = options.probe_timeout;
  VL2_ASSIGN_OR_RETURN(upstreams->language_replicas_,
                       ReplicaSet::Start(language, &LanguageClient::Probe));
  ReplicaSetOptions vision = language;
  vision.service = "vision";
  vision.targets = options.vision_targets;
  VL2_ASSIGN_OR_RETURN(upstreams->vision_replicas_,
                       ReplicaSet::Start(vision, &VisionClient::Probe));
  upstreams->language_ = std::make_unique<LanguageClient>(upstreams->language_replicas_.get());
  upstreams->vision_ = std::make_unique<VisionClient>(upstreams->vision_replicas_.get(),
                                                      options.whole_picture_first);
  return upstreams;
}

absl::Status Upstreams::Ready() const {
  VL2_RETURN_IF_ERROR(language_replicas_->status());
  VL2_RETURN_IF_ERROR(vision_replicas_->status());
  return Joined();
}

absl::Status Upstreams::Joined() const {
  std::string first_id, first_address;
  for (const ReplicaSet* set : {language_replicas_.get(), vision_replicas_.get()}) {
    for (const auto& [address, info] : set->infos()) {
      if (first_address.empty()) {
        first_id = info.model_id();
        first_address = address;
      } else if (info.model_id() != first_id) {
        return absl::FailedPreconditionError(Cat("different models are running: ", first_address,
                                                 " has \"", first_id, "\", ", address, " has \"",
                                                 info.model_id(), "\""));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ModelInfo> Upstreams::ModelInfo() const {
  VL2_RETURN_IF_ERROR(Ready());
  const auto infos = language_replicas_->infos();
  if (infos.empty()) return absl::UnavailableError("no replica of the language service answers");
  return infos.begin()->second;
}

v1::ClusterInfo Upstreams::ClusterInfo() const {
  v1::ClusterInfo cluster;
  const absl::Status ready = Ready();
  cluster.set_ready(ready.ok());
  cluster.set_not_ready_reason(Message(ready));
  for (const ReplicaState& state : language_replicas_->states()) {
    Fill(state, *cluster.add_language());
    if (!state.healthy || !cluster.model_id().empty()) continue;
    cluster.set_model_id(state.info->model_id());
    cluster.set_max_context_tokens(state.info->max_context_tokens());
  }
  for (const ReplicaState& state : vision_replicas_->states()) Fill(state, *cluster.add_vision());
  return cluster;
}

}  // namespace vl2::gateway
