// Engine: EngineCore on a thread of its own, behind a bounded queue.
//
// Callers submit, upload and cancel from any thread and never wait for a step; what they ask is
// taken up before the next one. Answers come through the request's sink, on the engine thread.
//
// When the engine is full, a client may still submit while another has at least twice as many
// requests here as it would then have itself: of the one that has most, the newest request without
// a token ends with RESOURCE_EXHAUSTED. One client alone may fill the engine.
//
// Owns: the thread, joined by Stop or the destructor. Threading: thread-safe.
// Errors: RESOURCE_EXHAUSTED when full, UNAVAILABLE when stopping.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "lm_service/engine/engine_core.h"
#include "runtime/base/mutex.h"
#include "runtime/base/throughput.h"

namespace vl2 {

// A look at the engine, at most one step old.
struct EngineSnapshot {
  bool in_round = false;             // not waiting for something to do
  int64_t num_commands = 0;          // not taken up yet
  int64_t pending_upload_bytes = 0;  // of them
  int64_t num_waiting = 0;
  int64_t num_running = 0;
  int64_t num_prefill = 0;  // of those running, as the two below
  int64_t num_decode = 0;
  int64_t num_awaiting_embeddings = 0;
  int64_t num_clients = 0;          // with a sequence
  int64_t num_clients_waiting = 0;  // with a sequence that waits
  int64_t num_blocks = 0;
  int64_t num_blocks_in_use = 0;  // by sequences
  int64_t num_blocks_cached = 0;  // by the prefix cache, shared ones included
  int64_t embedding_bytes = 0;    // reserved on the host
  int64_t num_preemptions = 0;    // since the start, as all below
  int64_t num_displaced = 0;      // requests ended in favour of another client's
  int64_t num_slot_timeouts = 0;
  int64_t num_steps = 0;
  int64_t num_rounds =
      0;  // commands taken, a step perhaps, and told: what a hung engine does not end
  int64_t num_prompt_tokens = 0;
  int64_t num_cached_tokens = 0;
  int64_t num_generated_tokens = 0;
};

struct Submitted {
  uint64_t id = 0;
  int64_t cached_tokens = 0;
  int64_t prompt_tokens = 0;
};

class Engine {
 public:
  // Uploaded embeddings that wait to be taken up, in bytes.
  static constexpr int64_t kMaxPendingUploadBytes = int64_t{256} << 20;

  // `model` outlives this and is used by the engine thread alone from now on.
  static absl::StatusOr<std::unique_ptr<Engine>> Start(const EngineOptions& options,
                                                       LanguageModel& model);
  ~Engine();

  absl::StatusOr<Submitted> Submit(GenerateRequest request, std::shared_ptr<GenerateSink> sink);

  // Takes embeddings [first, first + num_rows) of a picture, float32 [num_rows, hidden].
  // NOT_FOUND: no such sequence (any more). INVALID_ARGUMENT: not a part of that picture.
  // RESOURCE_EXHAUSTED: too many uploads wait; try again.
  absl::Status AddEmbeddings(uint64_t id, int slot, int64_t first, std::vector<float> rows);

  // Ends a sequence with CANCELLED; without effect when it has ended.
  void Cancel(uint64_t id);

  // Ends all sequences with UNAVAILABLE and joins the thread.
  void Stop();

  EngineSnapshot snapshot() const;
  const EngineOptions& options() const { return core_.options(); }

 private:
  struct Known {
    std::string client;
    int priority = 0;
    std::vector<int64_t> slot_sizes;  // embeddings of each picture
    bool has_token = false;
    bool cancelled = false;
    bool displaced = false;  // ends before the next step
  };
  using Command = std::function<void(EngineCore&)>;
  class WatchingSink;

  Engine(const EngineOptions& options, LanguageModel& model);
  void Run();
  void Push(Command command, int64_t upload_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnFirstToken(uint64_t id);
  void Forget(uint64_t id, const GenerateStats& stats);
  // RESOURCE_EXHAUSTED with the time after which what is here would be through.
  absl::Status Full(const std::string& message) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whom to displace for such a request; 0: nobody, there is room.
  absl::StatusOr<uint64_t> FindRoom(const std::string& client, int priority) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Displace(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  EngineCore core_;
  const int64_t hidden_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Command> commands_ ABSL_GUARDED_BY(mutex_);
  int64_t pending_upload_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unordered_map<uint64_t, Known> known_ ABSL_GUARDED_BY(mutex_);
  size_t num_leaving_ ABSL_GUARDED_BY(mutex_) = 0;  // of known_, displaced
  EngineSnapshot snapshot_ ABSL_GUARDED_BY(mutex_);
  Throughput throughput_ ABSL_GUARDED_BY(mutex_){Throughput::Clock::now()};  // requests that ended
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace vl2
