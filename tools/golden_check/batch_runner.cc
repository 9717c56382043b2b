#include "tools/golden_check/batch_runner.h"

#include <algorithm>

namespace vl2 {

BatchRunner::BatchRunner(LanguageModel& model, std::vector<ConstHostMatrix> prompts, int64_t chunk,
                         int64_t num_new_tokens)
    : model_(model),
      chunk_(chunk),
      num_new_tokens_(num_new_tokens),
      batch_(model.ops().NewBatch()),
      x_memory_(model.ops().device()),
      logits_memory_(model.ops().device()) {
  // Blocks are dealt in turns, so that no sequence's blocks lie side by side.
  int64_t num_blocks = 0;
  int64_t longest = 0;
  for (const ConstHostMatrix& prompt : prompts) {
    sequences_.push_back({.inputs = prompt, .generated = {}, .block_table = {}});
    longest = std::max(longest, BlocksFor(prompt.rows + num_new_tokens));
  }
  for (int64_t i = 0; i < longest; ++i) {
    for (Sequence& sequence : sequences_) {
      if (i < BlocksFor(sequence.inputs.rows + num_new_tokens)) {
        sequence.block_table.push_back(static_cast<int32_t>(num_blocks++));
      }
    }
  }
  cache_ = model.MakeCache(num_blocks);
}

void BatchRunner::Run(
    std::span<const int64_t> watched, Tap* tap,
    const std::function<void(const SequenceRows*, std::span<const int64_t>)>& before_step,
    const OnLogits& on_logits) {
  watched_logits_.assign(watched.size() * static_cast<size_t>(model_.vocab_size()), 0.0f);
  while (Step(watched, tap, before_step, on_logits)) {
  }
}

bool BatchRunner::Step(
    std::span<const int64_t> watched, Tap* tap,
    const std::function<void(const SequenceRows*, std::span<const int64_t>)>& before_step,
    const OnLogits& on_logits) {
  // The batch: each sequence's next chunk of prompt, or its newest token.
  std::vector<SequenceRows> rows;
  std::vector<size_t> owner;
  int64_t num_tokens = 0;
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const Sequence& sequence = sequences_[s];
    const int64_t num_prompt = sequence.inputs.rows;
    if (static_cast<int64_t>(sequence.generated.size()) >= num_new_tokens_) continue;
    const int64_t left = num_prompt - sequence.num_done;
    const int64_t count = left <= 0 ? 1 : chunk_ > 0 ? std::min(left, chunk_) : left;
    rows.push_back({.first_row = num_tokens,
                    .num_rows = count,
                    .first_position = sequence.num_done,
                    .num_prompt = num_prompt,
                    .block_table = sequence.block_table.data()});
    owner.push_back(s);
    num_tokens += count;
  }
  if (rows.empty()) return false;

  // Prompt rows are given as vectors; any id stands for them.
  std::vector<int32_t> ids(static_cast<size_t>(num_tokens), 0);
  std::vector<int32_t> logit_rows;
  std::vector<int64_t> watched_here;  // indices into watched
  for (size_t i = 0; i < rows.size(); ++i) {
    const Sequence& sequence = sequences_[owner[i]];
    const SequenceRows& part = rows[i];
    if (part.first_position >= part.num_prompt) {
      ids[static_cast<size_t>(part.first_row)] = sequence.generated.back();
    }
    if (owner[i] == 0) {
      for (size_t w = 0; w < watched.size(); ++w) {
        const int64_t row = watched[w] - part.first_position;
        if (row >= 0 && row < part.num_rows && watched[w] < part.num_prompt) {
          watched_here.push_back(static_cast<int64_t>(w));
          logit_rows.push_back(static_cast<int32_t>(part.first_row + row));
        }
      }
    }
    const auto last = static_cast<int32_t>(part.first_row + part.num_rows - 1);
    if (logit_rows.empty() || logit_rows.back() != last) logit_rows.push_back(last);
  }
  if (before_step) before_step(owner[0] == 0 ? &rows[0] : nullptr, watched_here);

  model_.SetBatch(rows, ids, logit_rows, *cache_, batch_.get());
  const Matrix x = x_memory_.Resize(num_tokens, model_.hidden());
  model_.Embed(*batch_, x);
  for (size_t i = 0; i < rows.size(); ++i) {
    const SequenceRows& part = rows[i];
    if (part.first_position >= part.num_prompt) continue;
    model_.ops().WriteRows(
        {.values = sequences_[owner[i]].inputs.Rows(part.first_position, part.num_rows),
         .out = x.Rows(part.first_row, part.num_rows)});
  }
  const int64_t vocab = model_.vocab_size();
  const Matrix logits = logits_memory_.Resize(static_cast<int64_t>(logit_rows.size()), vocab);
  model_.Forward(
      {.batch = batch_.get(), .x = x, .cache = cache_.get(), .logits = logits, .tap = tap});
  const HostMatrix logits_view = ToHost(logits, host_logits_);

  for (size_t w = 0; w < watched_here.size(); ++w) {
    const float* from = logits_view.row(static_cast<int64_t>(w));
    std::copy(from, from + vocab, watched_logits_.data() + watched_here[w] * vocab);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    Sequence& sequence = sequences_[owner[i]];
    sequence.num_done += rows[i].num_rows;
    if (sequence.num_done < sequence.inputs.rows) continue;
    const auto last = static_cast<int32_t>(rows[i].first_row + rows[i].num_rows - 1);
    const auto at = std::find(logit_rows.begin(), logit_rows.end(), last) - logit_rows.begin();
    const std::span<const float> row(logits_view.row(at), static_cast<size_t>(vocab));
    if (on_logits) on_logits(owner[i], row);
    sequence.generated.push_back(
        static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
  }
  return true;
}

}  // namespace vl2
