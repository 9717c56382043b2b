// A scheduler with all around it except a model: time that the test sets, tokens that it makes up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "lm_service/kv_cache/prefix_cache.h"
#include "lm_service/scheduler/scheduler.h"
#include "runtime/ops/paged_cache.h"

namespace vl2 {

// Keeps what the scheduler tells of one request.
struct RecordingSink : GenerateSink {
  std::vector<std::pair<int, int64_t>> slots_needed;
  int64_t prefilled = 0;
  int64_t num_tokens = 0;  // of all samples
  bool finished = false;
  absl::Status status;
  GenerateStats stats;

  void OnSlotNeeded(int slot, int64_t first) override { slots_needed.emplace_back(slot, first); }
  void OnPrefill(int64_t done, int64_t) override { prefilled = done; }
  void OnToken(int, const SampledToken&) override { ++num_tokens; }
  void OnSampleFinished(int, FinishReason) override {}
  void OnFinished(const absl::Status& end, const GenerateStats& end_stats) override {
    finished = true;
    status = end;
    stats = end_stats;
  }
};

// A request as the test knows it.
struct FakeRequest {
  uint64_t id = 0;
  std::shared_ptr<RecordingSink> sink;
};

class FakeEngine {
 public:
  static constexpr int64_t kHidden = 2;
  static constexpr int32_t kEndToken = 9;

  explicit FakeEngine(const SchedulerOptions& options) : scheduler(options, prefix_cache) {}

  FakeRequest Add(GenerateRequest request) {
    const SequenceLimits limits = {
        .hidden = kHidden,
        .max_new_tokens = request.max_new_tokens == 0 ? 1000 : request.max_new_tokens,
        .end_token_id = kEndToken};
    FakeRequest added = {.id = next_id_++, .sink = std::make_shared<RecordingSink>()};
    auto sequence =
        std::make_unique<Sequence>(added.id, std::move(request), added.sink, limits, now);
    sequence->PinPrefix(prefix_cache);
    scheduler.Add(std::move(sequence), now);
    return added;
  }

  void Upload(const FakeRequest& request, int slot, int64_t first, int64_t count) {
    const std::vector<float> rows(static_cast<size_t>(count * kHidden), 0.5f);
    scheduler.Find(request.id)->AddEmbeddings(slot, first, {rows.data(), count, kHidden}, now);
  }

  // Plans, "computes" and books a step, and draws a token wherever one is due. The step's plan;
  // its pointers are of no use any more.
  std::vector<StepRows> Step() {
    const std::vector<StepRows> step = scheduler.PlanStep(now);
    for (const StepRows& rows : step) {
      const size_t num_blocks = rows.sequence->BlockTable(rows.sample).size();
      EXPECT_LE(rows.first_position + rows.num_rows,
                static_cast<int64_t>(num_blocks) * kBlockTokens)
          << "sequence " << rows.id << " has no block for what it computes";
    }
    scheduler.CommitStep(step, step_ms,
                         [&](int32_t from, int32_t to) { copied_blocks.emplace_back(from, to); });
    std::vector<uint64_t> ended;
    for (const StepRows& rows : step) {
      if (!rows.wants_logits) continue;
      Sequence& sequence = *rows.sequence;
      for (int i = 0; i < sequence.request().num_samples; ++i) {
        const bool is_first = rows.sample < 0 && sequence.sample(i).generated.empty();
        if (is_first || rows.sample == i) {
          SampledToken token;
          token.id = rows.id == ending_request && i == 0 ? kEndToken : 1;
          sequence.TakeToken(i, token, now);
        }
      }
      if (sequence.finished()) ended.push_back(rows.id);
    }
    for (const uint64_t id : ended) scheduler.Finish(id, absl::OkStatus(), now);
    return step;
  }
  // Steps until nothing is left to compute; how many.
  int Run(int max_steps = 10'000) {
    int steps = 0;
    while (steps < max_steps && !Step().empty()) ++steps;
    return steps;
  }

  PrefixCache prefix_cache;
  Scheduler scheduler;
  Scheduler::Clock::time_point now{std::chrono::hours(1)};
  double step_ms = 1;           // what every step takes, as far as the scheduler hears
  uint64_t ending_request = 0;  // the next token of its first sample is the end token
  std::vector<std::pair<int32_t, int32_t>> copied_blocks;

 private:
  uint64_t next_id_ = 1;
};

// A prompt of `num_tokens` tokens, different for each `seed`.
inline GenerateRequest TextPrompt(int64_t num_tokens, int64_t max_new_tokens, int32_t seed = 1) {
  GenerateRequest request;
  request.parts = {std::vector<int32_t>(static_cast<size_t>(num_tokens), seed)};
  request.max_new_tokens = max_new_tokens;
  return request;
}

// `before` tokens, then a picture.
inline GenerateRequest PicturePrompt(int64_t before, int64_t num_embeddings, const std::string& key,
                                     int64_t max_new_tokens) {
  GenerateRequest request = TextPrompt(before, max_new_tokens);
  request.parts.push_back(ImagePart{.content_key = key, .num_embeddings = num_embeddings});
  request.parts.push_back(std::vector<int32_t>{5});
  return request;
}

inline GenerateRequest From(const std::string& client, GenerateRequest request) {
  request.client_id = client;
  return request;
}

// Rows of a step that belong to a request.
inline int64_t RowsOf(const std::vector<StepRows>& step, const FakeRequest& request) {
  int64_t count = 0;
  for (const StepRows& rows : step) count += rows.id == request.id ? rows.num_rows : 0;
  return count;
}

}  // namespace vl2
