// VisionServiceImpl: vl2.v1.VisionService in front of a VisionEngine.
//
// Owns: channels to language services. Threading: thread-safe. Limits: VisionServiceOptions.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "runtime/base/mutex.h"
#include "runtime/rpc/call_gate.h"
#include "runtime/rpc/caller_rule.h"
#include "runtime/rpc/replica_channel.h"
#include "runtime/trace/tracer.h"
#include "vision_service/engine/vision_engine.h"
#include "vision_service/service/peer_allow_list.h"
#include "vision_service/service/vision_metrics.h"
#include "vl2/v1/language.grpc.pb.h"
#include "vl2/v1/vision.grpc.pb.h"

namespace vl2 {

struct VisionServiceOptions {
  // A call whose picture is not used for so long ends.
  int64_t held_image_timeout_ms = 120'000;
  // A call that sends no header for so long ends; so many may wait for theirs at a time. Before
  // its header a call has no client whose share it could count in.
  int64_t header_timeout_ms = 10'000;
  int64_t max_nameless_calls = 1024;
  // EncodeStarts of one call.
  int max_starts = 64;
  // Who may call Encode; null: everybody. Outlives the service.
  const CallerRule* encode_callers = nullptr;
  ReplicaSecurity language = {};  // of the channels to language services

  absl::Status Validate() const;
};

// What the calls share; outlives them.
class VisionServiceState {
 public:
  VisionServiceState(const VisionServiceOptions& options, VisionEngine& engine,
                     PeerAllowList& peers, VisionMetrics& metrics, v1::ModelInfo info,
                     const Tracer* tracer)
      : options(options),
        engine(engine),
        peers(peers),
        metrics(metrics),
        info(std::move(info)),
        tracer(tracer) {}

  // REQUIRES: `peers` allows the address.
  std::shared_ptr<v1::LanguageService::Stub> LanguageStub(const std::string& address);
  void SetAddress(const std::string& address);
  std::string Address() const;

  const VisionServiceOptions options;
  VisionEngine& engine;
  PeerAllowList& peers;
  VisionMetrics& metrics;
  CallGate gate;
  const v1::ModelInfo info;    // advertised_address aside
  const Tracer* const tracer;  // may be null
  std::atomic<int64_t> num_nameless_calls{0};

 private:
  static constexpr size_t kMaxChannels = 256;
  mutable Mutex mutex_;
  std::string address_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<v1::LanguageService::Stub>> stubs_ ABSL_GUARDED_BY(mutex_);
};

class VisionServiceImpl : public v1::VisionService::CallbackService {
 public:
  // All arguments outlive this, and this outlives the server.
  VisionServiceImpl(const VisionServiceOptions& options, VisionEngine& engine, PeerAllowList& peers,
                    VisionMetrics& metrics, v1::ModelInfo info, const Tracer* tracer = nullptr)
      : state_(options, engine, peers, metrics, std::move(info), tracer) {}

  // Encode calls pass it.
  CallGate& gate() { return state_.gate; }
  void SetAddress(const std::string& address) { state_.SetAddress(address); }

  grpc::ServerBidiReactor<v1::EncodeRequest, v1::EncodeResponse>* Encode(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* info) override;

 private:
  VisionServiceState state_;
};

}  // namespace vl2
