#include "lm_service/engine/engine.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error_details.h"
#include "runtime/base/holdings.h"
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
  void OnToken(int sample, const SampledToken& token) override {
    if (!std::exchange(has_token_, true)) engine_.OnFirstToken(id_);
    sink_->OnToken(sample, token);
  }
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
  bool has_token_ = false;
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

absl::StatusOr<uint64_t> Engine::FindRoom(const std::string& client, int priority) const {
  if (stopping_) return absl::UnavailableError("the engine is stopping");
  const auto limit = static_cast<size_t>(core_.options().max_sequences);
  const size_t num_staying = known_.size() - num_leaving_;
  if (num_staying < limit) return 0;
  Holdings holdings;
  for (const auto& [id, known] : known_) {
    if (!known.displaced) holdings.Add(known.client, 1);
  }
  // Of those that have not begun: the newest of the lowest priority, or of whom has to yield.
  const auto loser = holdings.Loser(
      client, [](const std::string&, int64_t its, int64_t own) { return its >= 2 * (own + 1); });
  uint64_t newest = 0;
  int lowest = priority;
  for (const auto& [id, known] : known_) {
    if (known.has_token || known.displaced || known.priority > lowest) continue;
    if (known.priority == priority && (!loser || known.client != *loser)) continue;
    newest = known.priority < lowest ? id : std::max(newest, id);
    lowest = known.priority;
  }
  if (newest > 0) return newest;
  return Full(Cat(num_staying, " requests are in the engine, the limit is ", limit));
}

absl::Status Engine::Full(const std::string& message) const {
  const double speed = throughput_.PerSecond(Throughput::Clock::now());
  return WithRetryAfter(absl::ResourceExhaustedError(message),
                        RetryAfterSeconds(static_cast<double>(known_.size()), speed));
}

void Engine::Displace(uint64_t id) {
  known_[id].displaced = true;
  ++num_leaving_;
  Push(
      [this, id](EngineCore& core) {
        absl::Status why;
        {
          MutexLock lock(&mutex_);
          const auto it = known_.find(id);
          if (it == known_.end()) return;
          if (it->second.has_token) {
            // Its first token came meanwhile: it stays, one more than the limit for a while.
            it->second.displaced = false;
            --num_leaving_;
            return;
          }
          ++snapshot_.num_displaced;
          why = Full(Cat("the engine's ", core.options().max_sequences,
                         " places are taken, most of them by this client: its newest request gave "
                         "way to another client's"));
        }
        core.Finish(id, WithReason(std::move(why), "made_room"));
      },
      0);
}

absl::StatusOr<Submitted> Engine::Submit(GenerateRequest request,
                                         std::shared_ptr<GenerateSink> sink) {
  const std::string client = request.client_id;
  const int priority = request.priority;
  {
    // Before the work of looking at the prompt; again below, where it counts.
    MutexLock lock(&mutex_);
    VL2_RETURN_IF_ERROR(FindRoom(client, priority).status());
  }
  auto watching = std::make_shared<WatchingSink>(*this, std::move(sink));
  VL2_ASSIGN_OR_RETURN(std::unique_ptr<Sequence> sequence,
                       core_.MakeSequence(std::move(request), watching));
  watching->set_id(sequence->id());
  const Submitted submitted = {.id = sequence->id(),
                               .cached_tokens = sequence->stats().cached_tokens,
                               .prompt_tokens = sequence->num_prompt()};
  Known known;
  known.client = client;
  known.priority = priority;
  for (const SlotEmbeddings& slot : sequence->slots()) {
    known.slot_sizes.push_back(slot.num_embeddings());
  }
  MutexLock lock(&mutex_);
  const absl::StatusOr<uint64_t> displaced = FindRoom(client, priority);
  if (!displaced.ok()) {
    core_.Drop(*sequence);
    return displaced.status();
  }
  if (*displaced != 0) Displace(*displaced);
  known_[submitted.id] = std::move(known);
  // std::function wants a copyable target.
  auto holder = std::make_shared<std::unique_ptr<Sequence>>(std::move(sequence));
  Push([holder](EngineCore& core) { core.Add(std::move(*holder)); }, 0);
  return submitted;
}

absl::Status Engine::AddEmbeddings(uint64_t id, int slot, int64_t first, std::vector<float> rows) {
  const auto num_values = static_cast<int64_t>(rows.size());
  MutexLock lock(&mutex_);
  const auto it = known_.find(id);
  if (it == known_.end()) return absl::NotFoundError(Cat("no sequence ", id));
  VL2_RETURN_IF_ERROR(CheckUpload(it->second.slot_sizes, slot, first, num_values, hidden_));
  const int64_t count = num_values / hidden_;
  const int64_t num_bytes = num_values * static_cast<int64_t>(sizeof(float));
  if (pending_upload_bytes_ + num_bytes > kMaxPendingUploadBytes) {
    return absl::ResourceExhaustedError(Cat(
        pending_upload_bytes_, " bytes of uploads wait, the limit is ", kMaxPendingUploadBytes));
  }
  auto data = std::make_shared<std::vector<float>>(std::move(rows));
  Push(
      [id, slot, first, count, data, hidden = hidden_](EngineCore& core) {
        core.AddEmbeddings(id, slot, first, ConstHostMatrix(data->data(), count, hidden));
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

void Engine::OnFirstToken(uint64_t id) {
  MutexLock lock(&mutex_);
  known_[id].has_token = true;
}

void Engine::Forget(uint64_t id, const GenerateStats& stats) {
  MutexLock lock(&mutex_);
  const auto it = known_.find(id);
  num_leaving_ -= it->second.displaced;
  known_.erase(it);
  throughput_.Add(1, Throughput::Clock::now());
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
      snapshot_.in_round = false;
      while (!computed && commands_.empty() && !stopping_) {
        const auto next = core_.next_expiry();
        if (next == EngineCore::Clock::time_point::max()) {
          changed_.Wait(&mutex_);
        } else if (!changed_.WaitUntil(&mutex_, next)) {
          break;
        }
      }
      snapshot_.in_round = true;
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
    const Scheduler::Phases phases = scheduler.phases();
    snapshot_.num_prefill = phases.prefill;
    snapshot_.num_decode = phases.decode;
    snapshot_.num_awaiting_embeddings = phases.awaiting_embeddings;
    snapshot_.num_slot_timeouts = scheduler.num_slot_timeouts();
    snapshot_.num_clients = scheduler.num_clients();
    snapshot_.num_clients_waiting = scheduler.num_clients_waiting();
    snapshot_.num_blocks_in_use = scheduler.num_blocks_in_use();
    snapshot_.num_blocks_cached = core_.prefix_cache().num_blocks();
    snapshot_.embedding_bytes = scheduler.reserved_bytes();
    snapshot_.num_preemptions = scheduler.num_preemptions();
    if (computed) ++snapshot_.num_steps;
    ++snapshot_.num_rounds;
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
  EngineSnapshot now = snapshot_;
  now.num_commands = static_cast<int64_t>(commands_.size());
  now.pending_upload_bytes = pending_upload_bytes_;
  return now;
}

}  // namespace vl2
