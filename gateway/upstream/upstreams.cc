#include "gateway/upstream/upstreams.h"

#include <algorithm>

#include "runtime/base/error_details.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/rpc/tls_identity.h"

namespace vl2::gateway {
namespace {

void Fill(const ReplicaState& from, v1::ReplicaInfo& to) {
  to.set_address(from.address);
  to.set_healthy(from.health == ReplicaHealth::kServing);
  to.set_failure(from.failure);
  to.set_outstanding_calls(from.num_outstanding);
  if (!from.info) return;
  *to.mutable_info() = *from.info;
  to.mutable_info()->clear_config_json();
  to.mutable_info()->clear_processor_config_json();
}

int64_t LoadOf(const v1::ModelInfo& info, std::initializer_list<const char*> names) {
  int64_t load = 0;
  for (const char* name : names) {
    const auto it = info.load().find(name);
    if (it != info.load().end()) load += it->second;
  }
  return load;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Upstreams>> Upstreams::Start(const UpstreamOptions& options) {
  auto upstreams = std::make_unique<Upstreams>();
  upstreams->preferred_ = options.model_id;
  ReplicaSetOptions language;
  language.service = "language";
  language.targets = options.language_targets;
  language.resolve_interval = options.resolve_interval;
  language.probe_interval = options.probe_interval;
  language.probe_timeout = options.probe_timeout;
  language.security = {.credentials = options.credentials, .name = TlsIdentity::kLanguage};
  language.load = [](const v1::ModelInfo& info) {
    return LoadOf(info, {"running_sequences", "waiting_sequences"});
  };
  VL2_ASSIGN_OR_RETURN(upstreams->language_replicas_,
                       ReplicaSet::Start(language, &LanguageClient::Probe));
  ReplicaSetOptions vision = language;
  vision.service = "vision";
  vision.targets = options.vision_targets;
  vision.security.name = TlsIdentity::kVision;
  vision.load = [](const v1::ModelInfo& info) { return LoadOf(info, {"encoding_images"}); };
  VL2_ASSIGN_OR_RETURN(upstreams->vision_replicas_,
                       ReplicaSet::Start(vision, &VisionClient::Probe));
  upstreams->language_ = std::make_unique<LanguageClient>(upstreams->language_replicas_.get());
  upstreams->vision_ = std::make_unique<VisionClient>(upstreams->vision_replicas_.get(),
                                                      options.whole_picture_first);
  return upstreams;
}

std::map<std::string, Upstreams::Pool> Upstreams::pools() const {
  std::map<std::string, Pool> pools;
  for (const auto& [address, info] : language_replicas_->infos()) {
    ++pools[info.model_id()].num_language;
  }
  for (const auto& [address, info] : vision_replicas_->infos()) {
    ++pools[info.model_id()].num_vision;
  }
  return pools;
}

absl::Status Upstreams::Ready() const {
  const auto all = pools();
  if (std::any_of(all.begin(), all.end(),
                  [](const auto& pool) { return pool.second.complete(); })) {
    return absl::OkStatus();
  }
  VL2_RETURN_IF_ERROR(language_replicas_->status());
  VL2_RETURN_IF_ERROR(vision_replicas_->status());
  return WithReason(absl::UnavailableError("no model has replicas of both services"),
                    "no_replicas");
}

absl::StatusOr<std::string> Upstreams::PoolForRequest(bool with_images) {
  const auto all = pools();
  MutexLock lock(&mutex_);
  const auto complete = [&all](const std::string& model_id) {
    const auto it = all.find(model_id);
    return it != all.end() && it->second.complete();
  };
  std::string chosen;
  if (complete(preferred_)) {
    chosen = preferred_;
  } else if (complete(in_use_)) {
    chosen = in_use_;
  } else {
    int most = 0;
    for (const auto& [model_id, pool] : all) {
      if (!pool.complete() || pool.num_language + pool.num_vision <= most) continue;
      most = pool.num_language + pool.num_vision;
      chosen = model_id;
    }
  }
  if (!chosen.empty()) {
    if (chosen != in_use_) {
      Log(Severity::kInfo, "requests go to another model", {{"from", in_use_}, {"to", chosen}});
    }
    return in_use_ = chosen;
  }
  if (with_images) return Ready();
  // Text alone needs no vision service.
  if (const auto it = all.find(in_use_); it != all.end() && it->second.num_language > 0)
    return in_use_;
  for (const auto& [model_id, pool] : all) {
    if (pool.num_language > 0) return model_id;
  }
  return language_replicas_->status();
}

absl::StatusOr<v1::ModelInfo> Upstreams::ModelInfo() {
  VL2_ASSIGN_OR_RETURN(const std::string model_id, PoolForRequest(true));
  for (const auto& [address, info] : language_replicas_->infos()) {
    if (info.model_id() == model_id) return info;
  }
  return WithReason(absl::UnavailableError("no replica of the language service answers"),
                    "no_replicas");
}

v1::ClusterInfo Upstreams::ClusterInfo() {
  v1::ClusterInfo cluster;
  const absl::Status ready = Ready();
  cluster.set_ready(ready.ok());
  cluster.set_not_ready_reason(Message(ready));
  const std::string model_id = PoolForRequest(false).value_or("");
  cluster.set_model_id(model_id);
  for (const ReplicaState& state : language_replicas_->states()) {
    Fill(state, *cluster.add_language());
    if (state.health == ReplicaHealth::kServing && state.info->model_id() == model_id) {
      cluster.set_max_context_tokens(state.info->max_context_tokens());
    }
  }
  for (const ReplicaState& state : vision_replicas_->states()) Fill(state, *cluster.add_vision());
  return cluster;
}

}  // namespace vl2::gateway
