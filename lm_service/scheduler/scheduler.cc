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

void Scheduler::Add(std::unique_ptr<Sequence> sequence, Clock::time_point now) {
  // Embeddings are asked for at once where host memory allows, so that they arrive while the
  // sequence waits for blocks.
  if (ReserveBytes(*sequence)) sequence->AnnounceSlots(now);
  waiting_.push_back(std::move(sequence));
}

void Scheduler::ForEach(const std::function<void(Sequence&)>& visit) {
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
      expired.emplace_back(
          sequence.id(), absl::UnavailableError(Cat("embeddings for position ", ready, " of ",
                                                  sequence.num_prompt(), " did not arrive within ",
                                                  options_.slot_wait_timeout_ms, " ms")));
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
    if (!sequence.slots_announced()) sequence.AnnounceSlots(now);
    bool admitted = TryAdmit(sequence, now);
    // With nobody running, only prefixes pinned by others that wait can be in the way.
    while (!admitted && running_.empty() && DropWaitingPins(&sequence, now)) {
      admitted = TryAdmit(sequence, now);
    }
    if (!admitted && !running_.empty()) return;
    if (!admitted) {
      // It has lost its blocks before it needed more than there are: it must not wait for ever.
      Finish(sequence.id(), TooLargeAlone(), now);
      continue;
    }
    running_.push_back(std::move(waiting_[i]));
    waiting_.erase(waiting_.begin() + static_cast<int64_t>(i));
  }
}

bool Scheduler::TryAdmit(Sequence& sequence, Clock::time_point now) {
  sequence.PinPrefix(prefix_cache_, allocator_);
  const auto blocks = TakeBlocks(sequence.NumBlocksToRun());
  if (!blocks) return false;
  sequence.Admit(*blocks, now);
  return true;
}

void Scheduler::Preempt(Sequence& sequence) {
  sequence.Preempt(prefix_cache_, allocator_);
  ++num_preemptions_;
  const auto it = std::find_if(running_.begin(), running_.end(),
                               [&](const auto& other) { return other.get() == &sequence; });
  waiting_.push_front(std::move(*it));
  running_.erase(it);
}

bool Scheduler::DropWaitingPins(const Sequence* for_whom, Clock::time_point now) {
  for (const auto& sequence : waiting_) {
    if (sequence->num_shared_blocks() == 0 || sequence.get() == for_whom) continue;
    sequence->GiveUpPrefix(prefix_cache_, allocator_, now);
    return true;
  }
  return false;
}

bool Scheduler::Grow(Sequence& sequence, int sample, Clock::time_point now) {
  const int64_t missing = sequence.NumBlocksToGrow(sample);
  if (missing <= 0) return true;
  for (;;) {
    if (const auto blocks = TakeBlocks(missing)) {
      sequence.Grow(sample, *blocks);
      return true;
    }
    Sequence& newest = *running_.back();
    if (&newest != &sequence) {
      Preempt(newest);
    } else if (running_.size() > 1 || !DropWaitingPins(nullptr, now)) {
      return false;
    }
  }
}

absl::Status Scheduler::TooLargeAlone() const {
  return absl::ResourceExhaustedError(Cat("the cache's ", allocator_.num_blocks(), " blocks of ",
                                          kBlockTokens,
                                          " tokens are too few for this request alone"));
}

int64_t Scheduler::PrefillBudget() const {
  if (ms_per_row_ <= 0) return std::min<int64_t>(64, options_.max_batch_tokens);
  const auto rows = static_cast<int64_t>(static_cast<double>(options_.max_step_ms) / ms_per_row_);
  return std::clamp(rows, kMinPrefillRows, options_.max_batch_tokens);
}

void Scheduler::AddPromptRows(Sequence& sequence, int64_t& budget, std::vector<StepRows>& step) {
  const int64_t ready = sequence.ReadyPositions();
  const int64_t count = std::min(ready - sequence.num_prompt_computed(), budget);
  if (count <= 0) return;
  const bool last = sequence.num_prompt_computed() + count == sequence.num_prompt();
  step.push_back({.sequence = &sequence,
                  .id = sequence.id(),
                  .sample = -1,
                  .first_position = sequence.num_prompt_computed(),
                  .num_rows = count,
                  .wants_logits = last});
  budget -= count;
}

void Scheduler::AddSampleRows(Sequence& sequence, bool catching_up, Clock::time_point now,
                              int64_t& budget, std::vector<StepRows>& step) {
  const size_t first_of_sequence = step.size();
  const int num_samples = sequence.request().num_samples;
  for (int i = 0; i < num_samples; ++i) {
    const Sample& sample = sequence.sample(i);
    const int64_t pending = sample.num_pending();
    if (sample.finished || pending == 0 || (pending > 1) != catching_up) continue;
    if (budget <= 0) return;
    if (!Grow(sequence, i, now)) {
      // Nobody newer is left: this one steps back, with the rows it has in this step.
      step.resize(first_of_sequence);
      if (running_.size() > 1) {
        Preempt(sequence);
      } else {
        Finish(sequence.id(), TooLargeAlone(), now);
      }
      return;
    }
    const int64_t count = std::min(pending, budget);
    step.push_back({.sequence = &sequence,
                    .id = sequence.id(),
                    .sample = i,
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
    if (sequence.prompt_done()) AddSampleRows(sequence, /*catching_up=*/false, now, rows_left, step);
    if (i >= running_.size() || running_[i].get() != &sequence) --i;  // it left the list
  }
  int64_t budget = std::min(rows_left, PrefillBudget());
  for (size_t i = 0; i < running_.size() && budget > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (!sequence.prompt_done()) {
      AddPromptRows(sequence, budget, step);
    } else {
      // Blocks for these were taken at admission, so nobody is preempted here.
      AddSampleRows(sequence, /*catching_up=*/true, now, budget, step);
    }
  }
  return step;
}

void Scheduler::CommitStep(const std::vector<StepRows>& step, double step_ms,
                           const Sequence::CopyBlock& copy_block) {
  int64_t num_rows = 0;
  int64_t num_prefill = 0;
  for (const StepRows& rows : step) {
    num_rows += rows.num_rows;
    if (rows.sample >= 0) {
      rows.sequence->AdvanceSample(rows.sample, rows.num_rows);
    } else {
      num_prefill += rows.num_rows;
      rows.sequence->AdvancePrompt(rows.num_rows, prefix_cache_, copy_block);
    }
  }
  if (num_prefill >= kMinPrefillRows && num_rows > 0) {
    const double ms = step_ms / static_cast<double>(num_rows);
    ms_per_row_ = ms_per_row_ <= 0 ? ms : ms_per_row_ + kSpeedSmoothing * (ms - ms_per_row_);
  }
}

}  // namespace vl2
