#include "lm_service/engine/engine_core.h"

#include <algorithm>

#include "runtime/base/status.h"

namespace vl2 {

EngineCore::EngineCore(const EngineOptions& options, LanguageModel& model)
    : options_(options),
      model_(model),
      cache_(model.MakeCache(options.scheduler.num_blocks, options.cache_dtype)),
      scheduler_(options.scheduler, prefix_cache_),
      batch_(model.ops().NewBatch()),
      x_memory_(model.ops().device()),
      logits_memory_(model.ops().device()) {}

absl::StatusOr<std::unique_ptr<Sequence>> EngineCore::MakeSequence(
    GenerateRequest request, std::shared_ptr<GenerateSink> sink) {
  VL2_ASSIGN_OR_RETURN(const SequenceLimits limits,
                       CheckRequest(request, model_.config(), options_));
  auto sequence = std::make_unique<Sequence>(next_id_++, std::move(request), std::move(sink),
                                             limits, Clock::now());
  sequence->PinPrefix(prefix_cache_);
  return sequence;
}

void EngineCore::AddEmbeddings(uint64_t id, int slot, int64_t first, ConstHostMatrix embeddings) {
  Sequence* const sequence = scheduler_.Find(id);
  if (sequence != nullptr) sequence->AddEmbeddings(slot, first, embeddings, Clock::now());
}

void EngineCore::FinishAll(const absl::Status& status) {
  std::vector<uint64_t> ids;
  scheduler_.ForEach([&](Sequence& sequence) { ids.push_back(sequence.id()); });
  for (const uint64_t id : ids) Finish(id, status);
}

bool EngineCore::Step() {
  const auto begin = Clock::now();
  // Planning may start further waits for embeddings, none shorter than this.
  const auto slot_wait = std::chrono::milliseconds(options_.scheduler.slot_wait_timeout_ms);
  next_expiry_ = std::min(scheduler_.Expire(begin), begin + slot_wait);
  const std::vector<StepRows> step = scheduler_.PlanStep(begin);
  if (step.empty()) return false;
  BuildInputs(step);
  const Matrix logits =
      logits_memory_.Resize(static_cast<int64_t>(logit_rows_.size()), model_.vocab_size());
  model_.Forward({.batch = batch_.get(), .x = x_, .cache = cache_.get(), .logits = logits});
  const HostMatrix host_logits = ToHost(logits, host_logits_);
  const Clock::time_point computed = Clock::now();
  const double ms = std::chrono::duration<double, std::milli>(computed - begin).count();
  scheduler_.CommitStep(
      step, ms, [this](int32_t from, int32_t to) { model_.ops().CopyBlock(*cache_, from, to); });
  for (const StepRows& part : step) {
    if (part.sample < 0) {
      part.sequence->NotePrefill(part.first_position, part.num_rows, begin, computed);
    }
  }
  SampleStep(step, host_logits);
  if (options_.on_step) {
    StepStats stats{.ms = ms};
    for (const StepRows& part : step) {
      (part.sample < 0 ? stats.num_prompt_rows : stats.num_generated_rows) += part.num_rows;
    }
    options_.on_step(stats);
  }
  return true;
}

void EngineCore::BuildInputs(const std::vector<StepRows>& step) {
  rows_.clear();
  ids_.clear();
  logit_rows_.clear();
  for (const StepRows& part : step) {
    const Sequence& sequence = *part.sequence;
    rows_.push_back({.first_row = static_cast<int64_t>(ids_.size()),
                     .num_rows = part.num_rows,
                     .first_position = part.first_position,
                     .num_prompt = sequence.num_prompt(),
                     .block_table = sequence.BlockTable(part.sample).data()});
    const auto first = part.sample < 0 ? sequence.prompt_ids().begin() + part.first_position
                                       : sequence.sample(part.sample).generated.begin() +
                                             part.first_position - sequence.num_prompt();
    ids_.insert(ids_.end(), first, first + part.num_rows);
    if (part.wants_logits) logit_rows_.push_back(static_cast<int32_t>(ids_.size()) - 1);
  }
  x_ = x_memory_.Resize(static_cast<int64_t>(ids_.size()), model_.hidden());
  model_.SetBatch(rows_, ids_, logit_rows_, *cache_, batch_.get());
  model_.Embed(*batch_, x_);
  // Pictures' rows take their embeddings.
  for (size_t i = 0; i < step.size(); ++i) {
    if (step[i].sample >= 0) continue;
    const int64_t begin = step[i].first_position;
    const int64_t end = begin + step[i].num_rows;
    for (const SlotEmbeddings& slot : step[i].sequence->slots()) {
      const int64_t first = std::max(begin, slot.first_position());
      const int64_t last = std::min(end, slot.first_position() + slot.num_embeddings());
      if (first >= last) continue;
      model_.ops().WriteRows({.values = slot.Rows(first - slot.first_position(), last - first),
                              .out = x_.Rows(rows_[i].first_row + first - begin, last - first)});
    }
  }
}

void EngineCore::SampleStep(const std::vector<StepRows>& step, HostMatrix logits) {
  // Sequences end after the loop, so that the rows' pointers stay valid in it.
  std::vector<std::pair<uint64_t, absl::Status>> ended;
  int64_t row = 0;
  for (const StepRows& part : step) {
    if (!part.wants_logits) continue;
    Sequence& sequence = *part.sequence;
    const std::span<float> values(logits.row(row++), static_cast<size_t>(logits.cols));
    absl::Status status;
    if (part.sample >= 0) {
      status = SampleToken(sequence, part.sample, values);
    } else {
      for (int i = 0; i < sequence.request().num_samples && status.ok(); ++i) {
        // A sample that was preempted, or begins with a prefix, has its first token already.
        if (!sequence.sample(i).generated.empty()) continue;
        status = SampleToken(sequence, i, values);
      }
    }
    if (!status.ok() || sequence.finished()) ended.emplace_back(part.id, status);
  }
  for (const auto& [id, status] : ended) Finish(id, status);
}

absl::Status EngineCore::SampleToken(Sequence& sequence, int sample_index,
                                     std::span<float> logits) {
  const Sample& sample = sequence.sample(sample_index);
  SamplingParams params = sequence.request().sampling;
  params.seed += static_cast<uint64_t>(sample_index);
  VL2_ASSIGN_OR_RETURN(
      const SampledToken token,
      sampler_.Sample(logits, params, sample.history, /*sample=*/0, sample.generated.size()));
  sequence.TakeToken(sample_index, token, Clock::now());
  return absl::OkStatus();
}

}  // namespace vl2
