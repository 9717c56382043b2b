#include "lm_service/scheduler/scheduler.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/holdings.h"
#include "runtime/base/status.h"
#include "runtime/ops/paged_cache.h"

namespace vl2 {

absl::Status SchedulerOptions::Validate() const {
  const std::pair<const char*, int64_t> positive[] = {
      {"num_blocks", num_blocks},
      {"max_running", max_running},
      {"max_step_ms", max_step_ms},
      {"slot_wait_timeout_ms", slot_wait_timeout_ms},
      {"max_embedding_bytes", max_embedding_bytes}};
  for (const auto& [name, value] : positive) {
    if (value < 1) return InvalidArgument(name, " is ", value, ", must be at least 1");
  }
  if (max_batch_tokens < 16) {
    return InvalidArgument("max_batch_tokens is ", max_batch_tokens, ", must be at least 16");
  }
  return absl::OkStatus();
}

Scheduler::Scheduler(const SchedulerOptions& options, PrefixCache& prefix_cache)
    : options_(options), prefix_cache_(prefix_cache), allocator_(options.num_blocks) {}

void Scheduler::Add(std::unique_ptr<Sequence> sequence, Clock::time_point now) {
  turns_.Enter(sequence->client());
  // Embeddings are asked for at once where host memory allows, so that they arrive while the
  // sequence waits for blocks.
  if (ReserveBytes(*sequence)) sequence->AnnounceSlots(now);
  waiting_.push_back(std::move(sequence));
}

void Scheduler::ForEach(const std::function<void(Sequence&)>& visit) const {
  for (const auto& sequence : running_) visit(*sequence);
  for (const auto& sequence : waiting_) visit(*sequence);
}

Sequence* Scheduler::Find(uint64_t id) {
  Sequence* found = nullptr;
  ForEach([&](Sequence& sequence) {
    if (sequence.id() == id) found = &sequence;
  });
  return found;
}

Scheduler::Phases Scheduler::phases() const {
  Phases phases;
  for (const auto& sequence : running_) {
    if (sequence->prompt_done()) {
      ++phases.decode;
    } else if (sequence->ReadyPositions() > sequence->num_prompt_computed()) {
      ++phases.prefill;
    } else {
      ++phases.awaiting_embeddings;
    }
  }
  return phases;
}

int64_t Scheduler::num_clients_waiting() const {
  std::set<std::string> clients;
  for (const auto& sequence : waiting_) clients.insert(sequence->client());
  return static_cast<int64_t>(clients.size());
}

int64_t Scheduler::num_blocks_in_use() const {
  return allocator_.num_blocks() - allocator_.num_free() - prefix_cache_.num_unpinned();
}

void Scheduler::Finish(uint64_t id, const absl::Status& status, Clock::time_point now) {
  const auto is_it = [id](const std::unique_ptr<Sequence>& sequence) {
    return sequence->id() == id;
  };
  std::unique_ptr<Sequence> sequence;
  if (const auto it = std::find_if(running_.begin(), running_.end(), is_it); it != running_.end()) {
    sequence = std::move(*it);
    running_.erase(it);
  } else if (const auto at = std::find_if(waiting_.begin(), waiting_.end(), is_it);
             at != waiting_.end()) {
    sequence = std::move(*at);
    waiting_.erase(at);
  } else {
    return;
  }
  turns_.Leave(sequence->client());
  sequence->ReleaseBlocks(prefix_cache_, allocator_);
  reserved_bytes_ -= sequence->reserved_bytes();
  sequence->End(status, now);
}

Scheduler::Clock::time_point Scheduler::Expire(Clock::time_point now) {
  const auto slot_wait = std::chrono::milliseconds(options_.slot_wait_timeout_ms);
  std::vector<std::pair<uint64_t, absl::Status>> expired;
  Clock::time_point next = Clock::time_point::max();
  ForEach([&](Sequence& sequence) {
    if (now >= sequence.request().deadline) {
      expired.emplace_back(sequence.id(),
                           absl::DeadlineExceededError("the request's deadline passed"));
      return;
    }
    next = std::min(next, sequence.request().deadline);
    const int64_t ready = sequence.ReadyPositions();
    if (!sequence.slots_announced() || ready == sequence.num_prompt()) return;
    if (now >= sequence.last_progress() + slot_wait) {
      ++num_slot_timeouts_;
      expired.emplace_back(
          sequence.id(), absl::UnavailableError(
                             Cat("embeddings for position ", ready, " of ", sequence.num_prompt(),
                                 " did not arrive within ", options_.slot_wait_timeout_ms, " ms")));
      return;
    }
    next = std::min(next, sequence.last_progress() + slot_wait);
  });
  for (const auto& [id, status] : expired) Finish(id, status, now);
  return next;
}

std::optional<std::vector<int32_t>> Scheduler::TakeBlocks(int64_t count) {
  if (const int64_t missing = count - allocator_.num_free(); missing > 0) {
    if (missing > prefix_cache_.num_unpinned()) return std::nullopt;
    for (const int32_t block : prefix_cache_.Evict(missing)) allocator_.Release(block);
  }
  return allocator_.Allocate(count);
}

bool Scheduler::ReserveBytes(Sequence& sequence) {
  if (sequence.reserved_bytes() > 0 || sequence.slots().empty()) return true;
  if (reserved_bytes_ + sequence.EmbeddingBytes() > options_.max_embedding_bytes) return false;
  sequence.ReserveBytes();
  reserved_bytes_ += sequence.reserved_bytes();
  return true;
}

int64_t Scheduler::NumRunning(const std::string& client) const {
  return std::count_if(running_.begin(), running_.end(),
                       [&](const auto& sequence) { return sequence->client() == client; });
}

std::vector<Sequence*> Scheduler::WaitingInTurn() const {
  Holdings running;
  for (const auto& sequence : running_) running.Add(sequence->client(), 1);
  std::unordered_map<std::string, int64_t> turns;
  for (const ClientTurns::Entry& entry : turns_.entries()) {
    turns.emplace(entry.client, static_cast<int64_t>(turns.size()));
  }
  struct Candidate {
    std::array<int64_t, 4> key;  // smaller goes first
    Sequence* sequence;
  };
  std::vector<Candidate> candidates;
  for (const auto& sequence : waiting_) {
    const std::string& client = sequence->client();
    candidates.push_back({{-sequence->priority(), running.OfTenant(TenantOf(client)),
                           running.OfClient(client), turns[client]},
                          sequence.get()});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.key < b.key; });
  std::vector<Sequence*> in_turn;
  for (const Candidate& candidate : candidates) in_turn.push_back(candidate.sequence);
  return in_turn;
}

Sequence* Scheduler::NextToAdmit(Clock::time_point now) {
  // A sequence that still waits for host memory does not hold up those behind it: they may hold
  // the memory that it waits for.
  std::unordered_map<std::string, int64_t> too_many_bytes;  // by client
  for (Sequence* const sequence : WaitingInTurn()) {
    if (!ReserveBytes(*sequence)) {
      const int64_t needed = sequence->EmbeddingBytes();
      const auto limit = too_many_bytes.find(sequence->client());
      if (limit != too_many_bytes.end() && needed >= limit->second) continue;
      if (!TakeHostMemory(*sequence)) {
        too_many_bytes[sequence->client()] = needed;
        continue;
      }
      VL2_CHECK(ReserveBytes(*sequence)) << needed << " bytes of " << reserved_bytes_;
    }
    if (!sequence->slots_announced()) sequence->AnnounceSlots(now);
    return sequence;
  }
  return nullptr;
}

void Scheduler::AdmitWaiting(Clock::time_point now) {
  // Nobody overtakes who lacks blocks, or large prompts would wait for ever.
  while (Sequence* const next = NextToAdmit(now)) {
    if (!Admit(*next, now)) return;
  }
}

int64_t Scheduler::NumMissingBlocks(const Sequence& sequence) const {
  return sequence.NumBlocksToRun() - allocator_.num_free() - prefix_cache_.num_unpinned();
}

bool Scheduler::Admit(Sequence& sequence, Clock::time_point now) {
  while (num_running() >= options_.max_running || !TryAdmit(sequence, now)) {
    if (TakeRunningPlaces(sequence)) continue;
    // What others who wait have pinned may be in the way of a client's first; with nobody running,
    // nothing else can be.
    if (NumMissingBlocks(sequence) > 0 && NumRunning(sequence.client()) == 0 &&
        DropWaitingPins(&sequence, now)) {
      continue;
    }
    if (!running_.empty()) return false;
    // It has lost its blocks before it needed more than there are: it must not wait for ever.
    Finish(sequence.id(), TooLargeAlone(), now);
    return true;
  }
  const auto it = std::find_if(waiting_.begin(), waiting_.end(),
                               [&](const auto& other) { return other.get() == &sequence; });
  running_.push_back(std::move(*it));
  waiting_.erase(it);
  return true;
}

bool Scheduler::TryAdmit(Sequence& sequence, Clock::time_point now) {
  sequence.PinPrefix(prefix_cache_, allocator_);
  const auto blocks = TakeBlocks(sequence.NumBlocksToRun());
  if (!blocks) return false;
  sequence.Admit(*blocks, now);
  return true;
}

absl::Status Scheduler::TooLargeAlone() const {
  return absl::ResourceExhaustedError(Cat("the cache's ", allocator_.num_blocks(), " blocks of ",
                                          kBlockTokens,
                                          " tokens are too few for this request alone"));
}

}  // namespace vl2
