// LanguageServiceImpl: vl2.v1.LanguageService in front of an Engine.
//
// Owns: the tickets of running sequences. Threading: thread-safe.
// Limits: LanguageServiceOptions; the engine's own.
#pragma once

#include <cstdint>
#include <string>

#include "lm_service/engine/engine.h"
#include "lm_service/service/engine_metrics.h"
#include "lm_service/service/upload_tickets.h"
#include "runtime/base/mutex.h"
#include "runtime/rpc/call_gate.h"
#include "runtime/rpc/caller_rule.h"
#include "runtime/trace/tracer.h"
#include "vl2/v1/language.grpc.pb.h"

namespace vl2 {

struct LanguageServiceOptions {
  // Events and tokens that wait for a client that reads too slowly; beyond, its call ends.
  int64_t max_waiting_events = 4096;
  // How long an upload waits for room in the engine's queue before it fails.
  int64_t upload_retry_timeout_ms = 10'000;
  // Who may make these calls; null: everybody. They outlive the service.
  const CallerRule* generate_callers = nullptr;
  const CallerRule* upload_callers = nullptr;

  absl::Status Validate() const;
};

// What the calls share; outlives them.
struct LanguageServiceState {
  LanguageServiceOptions options;
  Engine& engine;
  EngineMetrics& metrics;
  v1::ModelInfo info;              // advertised_address aside
  const Tracer* tracer = nullptr;  // may be null
  UploadTickets tickets = {};
  CallGate gate = {};
  Mutex mutex = {};
  std::string address ABSL_GUARDED_BY(mutex) = "";  // advertised

  std::string Address() {
    MutexLock lock(&mutex);
    return address;
  }
};

class LanguageServiceImpl : public v1::LanguageService::CallbackService {
 public:
  // Engine, metrics and tracer (which may be null) outlive this; it outlives the server, and the
  // engine's Stop.
  LanguageServiceImpl(const LanguageServiceOptions& options, Engine& engine, EngineMetrics& metrics,
                      v1::ModelInfo info, const Tracer* tracer = nullptr)
      : state_{.options = options,
               .engine = engine,
               .metrics = metrics,
               .info = std::move(info),
               .tracer = tracer} {}

  // Generate calls pass it.
  CallGate& gate() { return state_.gate; }
  // Where uploads for this service go; from now on. Empty: to the address that a caller dialled.
  void SetAddress(const std::string& address) {
    MutexLock lock(&state_.mutex);
    state_.address = address;
  }

  grpc::ServerWriteReactor<v1::GenerateEvent>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerReadReactor<v1::UploadRequest>* UploadEmbeddings(grpc::CallbackServerContext* context,
                                                               v1::UploadSummary* summary) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* info) override;

 private:
  LanguageServiceState state_;
};

}  // namespace vl2
