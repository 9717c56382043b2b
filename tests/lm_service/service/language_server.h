// LanguageServer: a language service on a free loopback port, in this process, for tests.
//
// Owns everything, from the checkpoint to the server. Threading: as its parts.
#pragma once

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "lm_service/engine/engine.h"
#include "lm_service/service/engine_metrics.h"
#include "lm_service/service/language_service.h"
#include "runtime/base/thread_pool.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "runtime/rpc/model_info.h"
#include "runtime/rpc/server_scaffold.h"

namespace vl2 {

inline std::string TestCheckpointDir() {
  return std::string(VL2_TEST_DATA) + "/golden/data/checkpoints/small_mla";
}

inline constexpr int32_t kTestEndToken = 1;
inline constexpr int32_t kTestImageToken = 510;

// Small, so that limits are reached.
inline EngineOptions TestEngineOptions() {
  EngineOptions options;
  options.scheduler.num_blocks = 96;
  options.scheduler.max_batch_tokens = 256;
  options.end_token_id = kTestEndToken;
  return options;
}

class LanguageServer {
 public:
  explicit LanguageServer(const EngineOptions& options = TestEngineOptions(),
                          const LanguageServiceOptions& service_options = {},
                          const ServerOptions& server_options = {})
      : pool_(2) {
    checkpoint_ = *Checkpoint::Open(TestCheckpointDir());
    ops_ = MakeCpuOps(&pool_);
    model_ = LanguageModel::Load(*checkpoint_, *ops_);
    engine_ = *Engine::Start(options, *model_);
    engine_metrics_.Watch(*engine_);
    v1::ModelInfo info = *ReadModelInfo(TestCheckpointDir(), "");
    info.set_model_id(*checkpoint_->ModelId());
    info.set_hidden_size(model_->hidden());
    service_ =
        std::make_unique<LanguageServiceImpl>(service_options, *engine_, engine_metrics_, info);
    server_ = *ServerScaffold::Start(server_options, {service_.get()}, port_);
    service_->SetAddress(server_->address());
    server_->SetServing(true);
  }
  ~LanguageServer() {
    server_->Drain(0);
    engine_->Stop();
  }

  const std::string& address() const { return server_->address(); }
  Engine& engine() { return *engine_; }
  LanguageModel& model() { return *model_; }
  ServerScaffold& server() { return *server_; }
  const Metrics& metrics() const { return metrics_; }
  std::string model_id() const { return *checkpoint_->ModelId(); }

  // Waits until the engine's snapshot, which is up to a step old, shows a sequence.
  bool BecomesBusy() const {
    for (int i = 0; i < 500; ++i) {
      const EngineSnapshot now = engine_->snapshot();
      if (now.num_waiting + now.num_running > 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  // Waits until a step has run: where a sequence may be gone again before it is seen.
  bool HasStepped() const {
    for (int i = 0; i < 500; ++i) {
      if (engine_->snapshot().num_steps > 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  // Waits until no sequence is left and everything they held is back.
  testing::AssertionResult BecomesIdle() const {
    EngineSnapshot now;
    for (int i = 0; i < 500; ++i) {
      now = engine_->snapshot();
      if (now.num_waiting == 0 && now.num_running == 0 && now.num_blocks_in_use == 0 &&
          now.embedding_bytes == 0) {
        return testing::AssertionSuccess();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return testing::AssertionFailure()
           << now.num_waiting << " wait, " << now.num_running << " run, " << now.num_blocks_in_use
           << " blocks and " << now.embedding_bytes << " bytes are in use";
  }

 private:
  ThreadPool pool_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<LanguageModel> model_;
  MetricsPort port_;
  Metrics& metrics_ = port_.metrics();
  EngineMetrics engine_metrics_{metrics_};
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<LanguageServiceImpl> service_;
  std::unique_ptr<ServerScaffold> server_;
};

}  // namespace vl2
