// Scheduler, part: which rows a step computes.
#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "lm_service/scheduler/scheduler.h"
#include "runtime/base/client_name.h"

namespace vl2 {
namespace {

// Of prefill, in every step that has any to do: prompts go on however many others decode.
constexpr int64_t kMinPrefillRows = 16;
// Until a step was measured.
constexpr int64_t kFirstPrefillRows = 64;
// Weight of the newest step in the running average of a row's time.
constexpr double kSpeedSmoothing = 0.3;

// A sample whose next token is due has one pending; more are left from before a preemption and
// computed as a prompt is.
bool IsDue(const Sample& sample, RowKind kind) {
  const int64_t pending = sample.num_pending();
  return !sample.finished && pending > 0 && (pending == 1) == (kind == RowKind::kDecode);
}

}  // namespace

int64_t Scheduler::PrefillBudget() const {
  if (ms_per_row_ <= 0) return std::min(kFirstPrefillRows, options_.max_batch_tokens);
  const auto rows = static_cast<int64_t>(static_cast<double>(options_.max_step_ms) / ms_per_row_);
  return std::clamp(rows, kMinPrefillRows, options_.max_batch_tokens);
}

std::vector<Scheduler::Demand> Scheduler::Demands(RowKind kind) const {
  std::vector<Demand> demands;
  for (const ClientTurns::Entry& entry : turns_.entries()) {
    Demand demand;
    demand.client = entry.client;
    for (const auto& sequence : running_) {
      if (sequence->client() != entry.client) continue;
      int64_t num_rows = 0;
      if (sequence->prompt_done()) {
        for (const Sample& sample : sequence->samples()) {
          if (IsDue(sample, kind)) num_rows += sample.num_pending();
        }
      } else if (kind == RowKind::kPrefill) {
        num_rows = sequence->ReadyPositions() - sequence->num_prompt_computed();
      }
      if (num_rows <= 0) continue;
      demand.num_rows += num_rows;
      demand.sequences.push_back(sequence.get());
    }
    if (demand.num_rows > 0) demands.push_back(std::move(demand));
  }
  return demands;
}

void Scheduler::AddPromptRows(Sequence& sequence, int64_t budget,
                              std::vector<StepRows>& step) const {
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
}

void Scheduler::AddSampleRows(Sequence& sequence, RowKind kind, int64_t budget,
                              Clock::time_point now, std::vector<StepRows>& step) {
  const size_t first_of_sequence = step.size();
  // Where not all fit, those that are behind.
  std::vector<int> order;
  for (int i = 0; i < sequence.request().num_samples; ++i) {
    if (IsDue(sequence.sample(i), kind)) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return sequence.sample(a).generated.size() < sequence.sample(b).generated.size();
  });
  for (const int i : order) {
    if (budget <= 0) return;
    if (!Grow(sequence, i, now)) {
      // Nobody is left to take from: this one steps back, with the rows it has in this step.
      step.resize(first_of_sequence);
      if (running_.size() > 1) {
        Preempt(sequence);
      } else {
        Finish(sequence.id(), TooLargeAlone(), now);
      }
      return;
    }
    const Sample& sample = sequence.sample(i);
    const int64_t count = std::min(sample.num_pending(), budget);
    step.push_back({.sequence = &sequence,
                    .id = sequence.id(),
                    .sample = i,
                    .first_position = sequence.num_prompt() + sample.num_computed,
                    .num_rows = count,
                    .wants_logits = count == sample.num_pending()});
    budget -= count;
  }
}

std::vector<int64_t> Scheduler::DecodeShares(const std::vector<Demand>& decode) const {
  const std::vector<Demand> prefill = Demands(RowKind::kPrefill);
  const int64_t max_rows = options_.max_batch_tokens;
  // While another client's prompt is computed, a client decodes in a third of the step. Its own
  // prompts may take half of the rest: a third is what stays for the other, however many it runs.
  const int64_t third = std::max<int64_t>(1, std::min(max_rows, PrefillBudget() * 3 / 2) / 3);
  std::vector<std::string> clients;
  std::vector<int64_t> num_rows;
  std::map<std::string, int64_t> limits;  // of tenants
  for (const Demand& demand : decode) {
    const std::string tenant = TenantOf(demand.client);
    bool competes = false;
    for (const Demand& other : prefill) {
      competes |= other.client != demand.client;
      if (TenantOf(other.client) != tenant) limits[tenant] = third;
    }
    clients.push_back(demand.client);
    num_rows.push_back(competes ? std::min(demand.num_rows, third) : demand.num_rows);
  }
  const int64_t reserved = prefill.empty() ? 0 : std::min(kMinPrefillRows, max_rows / 2);
  return TenantShares(clients, num_rows, max_rows - reserved, limits);
}

void Scheduler::PlanDecode(Clock::time_point now, std::vector<StepRows>& step) {
  // Where not all fit: the clients and the sequences that were served longest ago.
  std::vector<Demand> decode = Demands(RowKind::kDecode);
  const auto by_last_step = [](const Sequence* a, const Sequence* b) {
    return a->last_step() < b->last_step();
  };
  for (Demand& demand : decode) {
    std::stable_sort(demand.sequences.begin(), demand.sequences.end(), by_last_step);
  }
  std::stable_sort(decode.begin(), decode.end(), [&](const Demand& a, const Demand& b) {
    return by_last_step(a.sequences[0], b.sequences[0]);
  });
  const std::vector<int64_t> shares = DecodeShares(decode);
  std::unordered_map<const Sequence*, int64_t> chosen;  // and how many rows
  for (size_t i = 0; i < decode.size(); ++i) {
    int64_t left = shares[i];
    for (const Sequence* const sequence : decode[i].sequences) {
      int64_t num_due = 0;
      for (const Sample& sample : sequence->samples()) num_due += IsDue(sample, RowKind::kDecode);
      const int64_t count = std::min(left, num_due);
      if (count > 0) chosen[sequence] = count;
      left -= count;
    }
  }
  // In order of admission: the oldest grow before they could lose their blocks to others.
  std::vector<Sequence*> in_order;
  for (const auto& sequence : running_) {
    if (chosen.contains(sequence.get())) in_order.push_back(sequence.get());
  }
  for (Sequence* const sequence : in_order) {
    if (!sequence->is_running()) continue;  // preempted by one before it
    AddSampleRows(*sequence, RowKind::kDecode, chosen[sequence], now, step);
    // Growing may also have preempted some that were in the step already.
    std::erase_if(step, [](const StepRows& rows) { return !rows.sequence->is_running(); });
  }
}

void Scheduler::PlanPrefill(Clock::time_point now, std::vector<StepRows>& step) {
  int64_t num_decode = 0;
  for (const StepRows& rows : step) num_decode += rows.num_rows;
  const std::vector<Demand> prefill = Demands(RowKind::kPrefill);
  std::vector<std::string> clients;
  std::vector<int64_t> num_rows;
  for (const Demand& demand : prefill) {
    clients.push_back(demand.client);
    num_rows.push_back(demand.num_rows);
  }
  const std::vector<int64_t> shares = TenantShares(
      clients, num_rows, std::min(options_.max_batch_tokens - num_decode, PrefillBudget()));
  std::set<std::string> served;
  for (size_t i = 0; i < prefill.size(); ++i) {
    int64_t left = shares[i];
    if (left > 0) served.insert(prefill[i].client);
    for (Sequence* const sequence : prefill[i].sequences) {
      const size_t first = step.size();
      if (!sequence->prompt_done()) {
        AddPromptRows(*sequence, left, step);
      } else {
        // Blocks for these were taken at admission, so nobody is preempted here.
        AddSampleRows(*sequence, RowKind::kPrefill, left, now, step);
      }
      for (size_t r = first; r < step.size(); ++r) left -= step[r].num_rows;
    }
  }
  turns_.EndTurn([&](const std::string& client) { return served.contains(client); });
}

std::vector<StepRows> Scheduler::PlanStep(Clock::time_point now) {
  AdmitWaiting(now);
  ++step_number_;
  std::vector<StepRows> step;
  PlanDecode(now, step);
  PlanPrefill(now, step);
  for (const StepRows& rows : step) rows.sequence->set_last_step(step_number_);
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
