#include "lm_service/engine/engine.h"

#include <utility>

#include "runtime/base/status.h"

namespace vl2 {

// Passes events on and tells the engine when the request has ended.
class Engine::WatchingSink : public GenerateSink {
 public:
  WatchingSink(Engine& engine, std::shared_ptr<GenerateSink> sink)
      : engine_(engine), sink_(std::move(sink)) {}

  void set_id(uint64_t id) { id_ = id; }
  void OnSlotNeeded(int slot, int64_t first) override { sink_->OnSlotNeeded(slot, first); }
  void OnPrefill(int64_t done, int64_t total) override { sink_->OnPrefill(done, total); }
  void OnToken(int sample, const SampledToken& token) override { sink_->OnToken(sample, token); }
  void OnSampleFinished(int sample, FinishReason reason) override {
    sink_->OnSampleFinished(sample, reason);
  }
  void OnFinished(const absl::Status& status, const GenerateStats& stats) override {
    engine_.Forget(id_, stats);
    sink_->OnFinished(status, stats);
  }

 private:
  Engine& engine_;
  const std::shared_ptr<GenerateSink> sink_;
  uint64_t id_ = 0;
};

absl::StatusOr<std::unique_ptr<Engine>> Engine::Start(const EngineOptions& options,
                                                      LanguageModel& model) {
  VL2_RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<Engine> engine(new Engine(options, model));
  engine->thread_ = std::thread([raw = engine.get()] { raw->Run(); });
  return engine;
}

Engine::Engine(const EngineOptions& options, LanguageModel& model)
    : core_(options, model), hidden_(model.hidden()) {
  snapshot_.num_blocks = options.scheduler.num_blocks;
}

Engine::~Engine() { Stop(); }

void Engine::Push(Command command, int64_t upload_bytes) {
  commands_.push_back(std::move(command));
  pending_upload_bytes_ += upload_bytes;
  changed_.NotifyOne();
}

absl::StatusOr<Submitted> Engine::Submit(GenerateRequest request,
                                         std::shared_ptr<GenerateSink> sink) {
  const auto full = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) -> absl::Status {
    if (stopping_) return absl::UnavailableError("the engine is stopping");
    const auto limit = static_cast<size_t>(core_.options().max_sequences);
    if (known_.size() < limit) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        Cat(known_.size(), " requests are in the engine, the limit is ", limit));
  };
  {
    // Before the work of looking at the prompt; again below, where it counts.
    MutexLock lock(&mutex_);
    VL2_RETURN_IF_ERROR(full());
  }
  auto watching = std::make_shared<WatchingSink>(*this, std::move(sink));
  VL2_ASSIGN_OR_RETURN(std::unique_ptr<Sequence> sequence,
                       core_.MakeSequence(std::move(request), watching));
  watching->set_id(sequence->id());
  const Submitted submitted = {.id = sequence->id(),
                               .cached_tokens = sequence->stats().cached_tokens,
                               .prompt_tokens = sequence->num_prompt()};
  Known known;
  for (const SlotEmbeddings& slot : sequence->slots()) {
    known.slot_sizes.push_back(slot.num_embeddings());
  }
  MutexLock lock(&mutex_);
  if (const absl::Status status = full(); !status.ok()) {
    core_.Drop(*sequence);
    return status;
  }
  known_[submitted.id] = std::move(known);
  // std::function wants a copyable target.
  auto holder = std::make_shared<std::unique_ptr<Sequence>>(std::move(sequence));
  Push([holder](EngineCore& core) { core.Add(std::move(*holder)); }, 0);
  return submitted;
}

absl::Status Engine::AddEmbeddings(uint64_t id, int slot, int64_t first, std::vector<float> rows) {
  const auto num_values = static_cast<int64_t>(rows.size());
  if (num_values == 0 || num_values % hidden_ != 0) {
    return InvalidArgument(num_values, " values are no whole embeddings of ", hidden_);
  }
  const int64_t count = num_values / hidden_;
  MutexLock lock(&mutex_);
  const auto it = known_.find(id);
  if (it == known_.end()) return absl::NotFoundError(Cat("no sequence ", id));
  const auto& sizes = it->second.slot_sizes;
  if (slot < 0 || static_cast<size_t>(slot) >= sizes.size()) {
    return InvalidArgument("slot ", slot, " of a sequence with ", sizes.size(), " pictures");
  }
  const int64_t size = sizes[static_cast<size_t>(slot)];
  if (first < 0 || first > size || count > size - first) {
    return InvalidArgument("embeddings ", first, " to ", first, " + ", count,
                           " of a picture that has ", size);
  }
  const int64_t num_bytes = num_values * static_cast<int64_t>(sizeof(float));
  if (pending_upload_bytes_ + num_bytes > kMaxPendingUploadBytes) {
    return absl::ResourceExhaustedError(Cat(
        pending_upload_bytes_, " bytes of uploads wait, the limit is ", kMaxPendingUploadBytes));
  }
  auto data = std::make_shared<std::vector<float>>(std::move(rows));
  Push(
      [id, slot, first, count, data, hidden = hidden_](EngineCore& core) {
        core.AddEmbeddings(id, slot, first, ConstMatrix(data->data(), count, hidden));
      },
      num_bytes);
  return absl::OkStatus();
}

void Engine::Cancel(uint64_t id) {
  MutexLock lock(&mutex_);
  // One command per known request at most: the queue stays bounded.
  const auto it = known_.find(id);
  if (it == known_.end() || std::exchange(it->second.cancelled, true)) return;
  Push([id](EngineCore& core) { core.Cancel(id); }, 0);
}

void Engine::Forget(uint64_t id, const GenerateStats& stats) {
  MutexLock lock(&mutex_);
  known_.erase(id);
  snapshot_.num_prompt_tokens += stats.prompt_tokens;
  snapshot_.num_cached_tokens += stats.cached_tokens;
  snapshot_.num_generated_tokens += stats.generated_tokens;
}

void Engine::Run() {
  std::vector<Command> commands;
  bool computed = true;
  for (;;) {
    bool stopping;
    {
      MutexLock lock(&mutex_);
      while (!computed && commands_.empty() && !stopping_) {
        const auto next = core_.next_expiry();
        if (next == EngineCore::Clock::time_point::max()) {
          changed_.Wait(&mutex_);
        } else if (!changed_.WaitUntil(&mutex_, next)) {
          break;
        }
      }
      commands.swap(commands_);
      pending_upload_bytes_ = 0;
      stopping = stopping_;
    }
    for (const Command& command : commands) command(core_);
    commands.clear();
    if (stopping) break;
    computed = core_.Step();

    const Scheduler& scheduler = core_.scheduler();
    MutexLock lock(&mutex_);
    snapshot_.num_waiting = scheduler.num_waiting();
    snapshot_.num_running = scheduler.num_running();
    snapshot_.num_blocks_in_use = scheduler.num_blocks_in_use();
    snapshot_.num_blocks_cached = core_.prefix_cache().num_blocks();
    snapshot_.embedding_bytes = scheduler.reserved_bytes();
    snapshot_.num_preemptions = scheduler.num_preemptions();
    if (computed) ++snapshot_.num_steps;
  }
  core_.FinishAll(absl::UnavailableError("the engine is stopping"));
}

void Engine::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyOne();
  }
  if (thread_.joinable()) thread_.join();
}

EngineSnapshot Engine::snapshot() const {
  MutexLock lock(&mutex_);
  return snapshot_;
}

}  // namespace vl2
