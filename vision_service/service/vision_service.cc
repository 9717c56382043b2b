#include "vision_service/service/vision_service.h"

#include "runtime/base/status.h"
#include "runtime/rpc/replica_channel.h"
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
  if (stub == nullptr) stub = v1::LanguageService::NewStub(MakeReplicaChannel(address));
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

void WatchPeers(const PeerAllowList& peers, Metrics& metrics) {
  metrics.AddSource([&peers](MetricSamples& samples) {
    samples.Counter("vl2_vision_peers_refused_total",
                    "Deliveries to addresses that are not allowed.",
                    static_cast<double>(peers.num_refused()));
  });
}

void WatchVisionEngine(const VisionEngine& engine, Metrics& metrics) {
  metrics.AddSource([&engine](MetricSamples& samples) {
    const VisionEngineSnapshot now = engine.snapshot();
    const auto gauge = [&](const char* name, const char* help, int64_t value) {
      samples.Gauge(name, help, static_cast<double>(value));
    };
    const auto counter = [&](const char* name, const char* help, int64_t value) {
      samples.Counter(name, help, static_cast<double>(value));
    };
    gauge("vl2_vision_queued_tiles", "Tiles that are not encoded yet.", now.num_queued_tiles);
    gauge("vl2_vision_queued_tiles_limit", "Tiles queued at most.",
          engine.options().max_queued_tiles);
    gauge("vl2_vision_held_images", "Pictures held for calls.", now.num_held_images);
    gauge("vl2_vision_held_bytes", "Bytes of their files.", now.held_bytes);
    gauge("vl2_vision_cache_bytes", "Bytes of cached embeddings.", now.cache_bytes);
    gauge("vl2_vision_encodings", "Pictures being encoded.", now.num_encodings);
    gauge("vl2_vision_clients", "Clients that hold pictures.", now.num_clients);
    gauge("vl2_vision_waiting_headers", "Headers that wait to be read.", now.num_waiting_headers);
    gauge("vl2_vision_waiting_decodes", "Pictures that wait to be decoded.",
          now.num_waiting_decodes);
    gauge("vl2_vision_decoding_bytes", "Decoded bytes of the pictures being decoded.",
          now.decoding_bytes);
    gauge("vl2_vision_decoding_bytes_limit", "These at most.", engine.options().max_decoding_bytes);
    counter("vl2_vision_encoded_tiles_total", "Tiles encoded.", now.num_encoded_tiles);
    counter("vl2_vision_cache_hits_total", "Requests answered from the cache.", now.num_cache_hits);
    counter("vl2_vision_shared_total", "Requests that joined an encoding in flight.",
            now.num_shared);
    counter("vl2_vision_cancelled_total", "Encodings that everybody left.", now.num_cancelled);
  });
}

}  // namespace vl2
