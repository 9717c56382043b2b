#include "lm_service/scheduler/scheduler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lm_service/kv_cache/kv_cache.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr int64_t kMinPrefillRows = 16;
// Weight of the newest step in the running average of a row's time.
constexpr double kSpeedSmoothing = 0.3;

double Milliseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

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
  if (max_batch_tokens < kMinPrefillRows) {
    return InvalidArgument("max_batch_tokens is ", max_batch_tokens, ", must be at least ",
                           kMinPrefillRows);
  }
  return absl::OkStatus();
}

Scheduler::Scheduler(const SchedulerOptions& options, PrefixCache& prefix_cache)
    : options_(options), prefix_cache_(prefix_cache), allocator_(options.num_blocks) {}

void Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  // Embeddings are asked for at once where host memory allows, so that they arrive while the
  // sequence waits for blocks.
  if (ReserveBytes(*sequence)) AnnounceSlots(*sequence);
  waiting_.push_back(std::move(sequence));
}

void Scheduler::ForEach(const std::function<void(Sequence&)>& visit) {
  for (const auto& sequence : running_) visit(*sequence);
  for (const auto& sequence : waiting_) visit(*sequence);
}

Sequence* Scheduler::Find(uint64_t id) {
  Sequence* found = nullptr;
  ForEach([&](Sequence& sequence) {
    if (sequence.id == id) found = &sequence;
  });
  return found;
}

int64_t Scheduler::num_blocks_in_use() const {
  return allocator_.num_blocks() - allocator_.num_free() - prefix_cache_.num_unpinned();
}

void Scheduler::Finish(uint64_t id, const absl::Status& status) {
  const auto is_it = [id](const std::unique_ptr<Sequence>& sequence) { return sequence->id == id; };
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
  ReleaseBlocks(*sequence, 0);
  reserved_bytes_ -= sequence->reserved_bytes;
  const auto now = Clock::now();
  if (sequence->first_token != Clock::time_point()) {
    sequence->stats.decode_ms = Milliseconds(now - sequence->first_token);
  }
  sequence->sink->OnFinished(status, sequence->stats);
}

Scheduler::Clock::time_point Scheduler::Expire(Clock::time_point now) {
  const auto slot_wait = std::chrono::milliseconds(options_.slot_wait_timeout_ms);
  std::vector<std::pair<uint64_t, absl::Status>> expired;
  Clock::time_point next = Clock::time_point::max();
  ForEach([&](Sequence& sequence) {
    if (now >= sequence.request.deadline) {
      expired.emplace_back(sequence.id,
                           absl::DeadlineExceededError("the request's deadline passed"));
      return;
    }
    next = std::min(next, sequence.request.deadline);
    const int64_t ready = sequence.ReadyPositions();
    if (!sequence.slots_announced || ready == sequence.num_prompt()) return;
    if (now >= sequence.last_progress + slot_wait) {
      expired.emplace_back(
          sequence.id, absl::UnavailableError(Cat("embeddings for position ", ready, " of ",
                                                  sequence.num_prompt(), " did not arrive within ",
                                                  options_.slot_wait_timeout_ms, " ms")));
      return;
    }
    next = std::min(next, sequence.last_progress + slot_wait);
  });
  for (const auto& [id, status] : expired) Finish(id, status);
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
  if (sequence.reserved_bytes > 0 || sequence.slots.empty()) return true;
  int64_t num_bytes = 0;
  for (const SlotEmbeddings& slot : sequence.slots) num_bytes += slot.num_bytes();
  if (reserved_bytes_ + num_bytes > options_.max_embedding_bytes) return false;
  reserved_bytes_ += num_bytes;
  sequence.reserved_bytes = num_bytes;
  return true;
}

void Scheduler::AnnounceSlots(Sequence& sequence) {
  sequence.slots_announced = true;
  sequence.last_progress = Clock::now();
  for (size_t i = 0; i < sequence.slots.size(); ++i) {
    const SlotEmbeddings& slot = sequence.slots[i];
    if (slot.first_needed() < slot.num_embeddings()) {
      sequence.sink->OnSlotNeeded(static_cast<int>(i), slot.first_needed());
    }
  }
}

void Scheduler::AdmitWaiting(Clock::time_point now) {
  // A sequence that still waits for host memory does not hold up those behind it: they may hold the
  // memory that it waits for.
  for (size_t i = 0; i < waiting_.size();) {
    if (num_running() >= options_.max_running) return;
    Sequence& sequence = *waiting_[i];
    if (!ReserveBytes(sequence)) {
      ++i;
      continue;
    }
    if (!sequence.slots_announced) AnnounceSlots(sequence);
    while (!TryAdmit(sequence, now)) {
      // With nobody running, only prefixes pinned by others that wait can be in the way.
      if (running_.empty() && DropWaitingPins()) continue;
      return;
    }
    running_.push_back(std::move(waiting_[i]));
    waiting_.erase(waiting_.begin() + static_cast<int64_t>(i));
  }
}

bool Scheduler::TryAdmit(Sequence& sequence, Clock::time_point now) {
  // More of the prefix may be cached by now than when it was looked up last.
  const auto& keys = sequence.block_keys;
  const auto max_cached = static_cast<size_t>((sequence.num_prompt() - 1) / kBlockTokens);
  const size_t num_keys = std::min(keys.size(), max_cached);
  const std::vector<int32_t> cached = prefix_cache_.Pin(std::span(keys).first(num_keys));
  ReleaseBlocks(sequence, 0);
  sequence.shared_blocks = cached;
  sequence.in_cache.assign(cached.size(), true);

  const int64_t num_full = sequence.num_prompt() / kBlockTokens;
  const int64_t num_shared = num_full - static_cast<int64_t>(cached.size());
  int64_t needed = num_shared;
  std::vector<int64_t> own;
  for (const Sample& sample : sequence.samples) {
    const auto generated = static_cast<int64_t>(sample.generated.size());
    own.push_back(sample.finished ? 0
                                  : BlocksFor(sequence.num_prompt() + generated + 1) - num_full);
    needed += own.back();
  }
  auto blocks = TakeBlocks(needed);
  if (!blocks) return false;

  auto next = blocks->begin();
  sequence.shared_blocks.insert(sequence.shared_blocks.end(), next, next + num_shared);
  sequence.in_cache.resize(sequence.shared_blocks.size(), false);
  next += num_shared;
  for (size_t i = 0; i < sequence.samples.size(); ++i) {
    Sample& sample = sequence.samples[i];
    sample.own_blocks.assign(next, next + own[i]);
    next += own[i];
    sample.block_table = sequence.shared_blocks;
    sample.block_table.insert(sample.block_table.end(), sample.own_blocks.begin(),
                              sample.own_blocks.end());
    sample.num_computed = 0;
  }
  sequence.num_prompt_computed = static_cast<int64_t>(cached.size()) * kBlockTokens;
  if (sequence.stats.num_preemptions == 0) {
    sequence.admitted = now;
    sequence.stats.cached_tokens = sequence.num_prompt_computed;
    sequence.stats.queue_ms = Milliseconds(now - sequence.submitted);
  }
  return true;
}

void Scheduler::ReleaseBlocks(Sequence& sequence, size_t keep) {
  for (Sample& sample : sequence.samples) {
    for (const int32_t block : sample.own_blocks) allocator_.Release(block);
    sample.own_blocks.clear();
    sample.block_table.clear();
    sample.num_computed = 0;
  }
  for (size_t i = keep; i < sequence.shared_blocks.size(); ++i) {
    if (sequence.in_cache[i]) {
      prefix_cache_.Unpin(std::span(sequence.block_keys).subspan(i, 1));
    } else {
      allocator_.Release(sequence.shared_blocks[i]);
    }
  }
  sequence.shared_blocks.resize(std::min(keep, sequence.shared_blocks.size()));
  sequence.in_cache.resize(sequence.shared_blocks.size());
  sequence.num_prompt_computed = 0;
}

void Scheduler::Preempt(Sequence& sequence) {
  // What was never uploaded because it was cached stays pinned: nobody could compute it again.
  int64_t last_position = 0;
  for (const SlotEmbeddings& slot : sequence.slots) {
    if (slot.first_needed() > 0) {
      last_position = std::max(last_position, slot.first_position() + slot.first_needed());
    }
  }
  ReleaseBlocks(sequence, static_cast<size_t>(BlocksFor(last_position)));
  ++sequence.stats.num_preemptions;
  ++num_preemptions_;
  const auto it = std::find_if(running_.begin(), running_.end(),
                               [&](const auto& other) { return other.get() == &sequence; });
  waiting_.push_front(std::move(*it));
  running_.erase(it);
}

bool Scheduler::DropWaitingPins() {
  for (const auto& sequence : waiting_) {
    if (sequence->shared_blocks.empty()) continue;
    ReleaseBlocks(*sequence, 0);
    for (size_t i = 0; i < sequence->slots.size(); ++i) {
      SlotEmbeddings& slot = sequence->slots[i];
      if (slot.first_needed() == 0) continue;
      slot.NeedAll();
      if (sequence->slots_announced) sequence->sink->OnSlotNeeded(static_cast<int>(i), 0);
    }
    sequence->last_progress = Clock::now();
    return true;
  }
  return false;
}

bool Scheduler::Grow(Sequence& sequence, Sample& sample) {
  const int64_t num_tokens = sequence.num_prompt() + static_cast<int64_t>(sample.generated.size());
  const int64_t missing = BlocksFor(num_tokens) - static_cast<int64_t>(sample.block_table.size());
  if (missing <= 0) return true;
  for (;;) {
    if (const auto blocks = TakeBlocks(missing)) {
      sample.own_blocks.insert(sample.own_blocks.end(), blocks->begin(), blocks->end());
      sample.block_table.insert(sample.block_table.end(), blocks->begin(), blocks->end());
      return true;
    }
    Sequence& newest = *running_.back();
    if (&newest != &sequence) {
      Preempt(newest);
    } else if (running_.size() > 1 || !DropWaitingPins()) {
      return false;
    }
  }
}

int64_t Scheduler::PrefillBudget() const {
  if (ms_per_row_ <= 0) return std::min<int64_t>(64, options_.max_batch_tokens);
  const auto rows = static_cast<int64_t>(static_cast<double>(options_.max_step_ms) / ms_per_row_);
  return std::clamp(rows, kMinPrefillRows, options_.max_batch_tokens);
}

void Scheduler::AddPromptRows(Sequence& sequence, int64_t& budget, std::vector<StepRows>& step) {
  const int64_t ready = sequence.ReadyPositions();
  const int64_t count = std::min(ready - sequence.num_prompt_computed, budget);
  if (count <= 0) return;
  const bool last = sequence.num_prompt_computed + count == sequence.num_prompt();
  step.push_back({.sequence = &sequence,
                  .id = sequence.id,
                  .sample = -1,
                  .first_position = sequence.num_prompt_computed,
                  .num_rows = count,
                  .wants_logits = last});
  budget -= count;
}

void Scheduler::AddSampleRows(Sequence& sequence, bool catching_up, int64_t& budget,
                              std::vector<StepRows>& step) {
  const size_t first_of_sequence = step.size();
  for (size_t i = 0; i < sequence.samples.size(); ++i) {
    Sample& sample = sequence.samples[i];
    const int64_t pending = sample.num_pending();
    if (sample.finished || pending == 0 || (pending > 1) != catching_up) continue;
    if (budget <= 0) return;
    if (!Grow(sequence, sample)) {
      // Nobody newer is left: this one steps back, with the rows it has in this step.
      step.resize(first_of_sequence);
      if (running_.size() > 1) {
        Preempt(sequence);
      } else {
        Finish(sequence.id, absl::ResourceExhaustedError(
                                Cat("the cache's ", allocator_.num_blocks(), " blocks of ",
                                    kBlockTokens, " tokens are too few for this request alone")));
      }
      return;
    }
    const int64_t count = std::min(pending, budget);
    step.push_back({.sequence = &sequence,
                    .id = sequence.id,
                    .sample = static_cast<int>(i),
                    .first_position = sequence.num_prompt() + sample.num_computed,
                    .num_rows = count,
                    .wants_logits = count == pending});
    budget -= count;
  }
}

std::vector<StepRows> Scheduler::PlanStep(Clock::time_point now) {
  AdmitWaiting(now);
  std::vector<StepRows> step;
  int64_t rows_left = options_.max_batch_tokens;
  // Decoding first: everyone's next token. Growing may preempt newer sequences, further back in the
  // list, and so not in the step yet.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.prompt_done()) AddSampleRows(sequence, /*catching_up=*/false, rows_left, step);
    if (i >= running_.size() || running_[i].get() != &sequence) --i;  // it left the list
  }
  int64_t budget = std::min(rows_left, PrefillBudget());
  for (size_t i = 0; i < running_.size() && budget > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (!sequence.prompt_done()) {
      AddPromptRows(sequence, budget, step);
    } else {
      // Blocks for these were taken at admission, so nobody is preempted here.
      AddSampleRows(sequence, /*catching_up=*/true, budget, step);
    }
  }
  return step;
}

void Scheduler::FinishPrompt(Sequence& sequence,
                             const std::function<void(int32_t, int32_t)>& copy_block) {
  sequence.stats.prompt_tokens = sequence.num_prompt();
  if (sequence.num_prompt() % kBlockTokens == 0) return;
  // Samples go on in the block that the prompt ends in, each in its own copy.
  for (size_t i = 1; i < sequence.samples.size(); ++i) {
    if (sequence.samples[i].finished) continue;
    copy_block(sequence.samples[0].own_blocks[0], sequence.samples[i].own_blocks[0]);
  }
}

void Scheduler::CommitStep(const std::vector<StepRows>& step, double step_ms,
                           const std::function<void(int32_t, int32_t)>& copy_block) {
  int64_t num_rows = 0;
  int64_t num_prefill = 0;
  for (const StepRows& rows : step) {
    Sequence& sequence = *rows.sequence;
    num_rows += rows.num_rows;
    if (rows.sample >= 0) {
      sequence.samples[static_cast<size_t>(rows.sample)].num_computed += rows.num_rows;
      continue;
    }
    num_prefill += rows.num_rows;
    const auto first_block = static_cast<size_t>(sequence.num_prompt_computed / kBlockTokens);
    sequence.num_prompt_computed += rows.num_rows;
    const auto end_block = static_cast<size_t>(sequence.num_prompt_computed / kBlockTokens);
    for (size_t b = first_block; b < std::min(end_block, sequence.block_keys.size()); ++b) {
      if (!sequence.in_cache[b]) {
        sequence.in_cache[b] =
            prefix_cache_.Insert(sequence.block_keys[b], sequence.shared_blocks[b]);
      }
    }
    if (sequence.prompt_done()) FinishPrompt(sequence, copy_block);
    sequence.sink->OnPrefill(sequence.num_prompt_computed, sequence.num_prompt());
  }
  if (num_prefill >= kMinPrefillRows && num_rows > 0) {
    const double ms = step_ms / static_cast<double>(num_rows);
    ms_per_row_ = ms_per_row_ <= 0 ? ms : ms_per_row_ + kSpeedSmoothing * (ms - ms_per_row_);
  }
}

}  // namespace vl2
