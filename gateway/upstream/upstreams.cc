#include "gateway/upstream/upstreams.h"

#include "runtime/base/status.h"

namespace vl2::gateway {

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

}  // namespace vl2::gateway
