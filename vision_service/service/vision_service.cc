#include "vision_service/service/vision_service.h"

#include "runtime/base/status.h"
#include "vision_service/service/encode_call.h"

namespace vl2 {

absl::Status VisionServiceOptions::Validate() const {
  if (held_image_timeout_ms < 1 || header_timeout_ms < 1 || max_nameless_calls < 1 ||
      max_starts < 1) {
    return InvalidArgument("held_image_timeout_ms ", held_image_timeout_ms, ", header_timeout_ms ",
                           header_timeout_ms, ", max_nameless_calls ", max_nameless_calls,
                           " and max_starts ", max_starts, " must be at least 1");
  }
  return absl::OkStatus();
}

std::shared_ptr<v1::LanguageService::Stub> VisionServiceState::LanguageStub(
    const std::string& address) {
  MutexLock lock(&mutex_);
  // Replicas come and go: old addresses must not gather.
  if (stubs_.size() >= kMaxChannels && stubs_.count(address) == 0) stubs_.clear();
  auto& stub = stubs_[address];
  if (stub == nullptr) {
    stub = v1::LanguageService::NewStub(MakeReplicaChannel(address, options.language));
  }
  return stub;
}

void VisionServiceState::SetAddress(const std::string& address) {
  MutexLock lock(&mutex_);
  address_ = address;
}

std::string VisionServiceState::Address() const {
  MutexLock lock(&mutex_);
  return address_;
}

grpc::ServerBidiReactor<v1::EncodeRequest, v1::EncodeResponse>* VisionServiceImpl::Encode(
    grpc::CallbackServerContext* context) {
  return EncodeCall::Start(state_, *context);
}

grpc::ServerUnaryReactor* VisionServiceImpl::GetModelInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetModelInfoRequest* request,
                                                          v1::ModelInfo* info) {
  *info = state_.info;
  info->set_advertised_address(state_.Address());
  info->set_state(state_.gate.state());
  const VisionEngineSnapshot now = state_.engine.snapshot();
  auto& load = *info->mutable_load();
  load["queued_tiles"] = now.num_queued_tiles;
  load["encoding_images"] = now.num_encodings;
  load["held_images"] = now.num_held_images;
  load["cache_used_bytes"] = now.cache_bytes;
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace vl2
