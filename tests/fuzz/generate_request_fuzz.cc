// Any bytes as a GenerateRequest: refused with a reason, or a sequence that a small scheduler takes
// in, plans steps for and lets go of without a block or a byte left behind. No model computes.
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "lm_service/engine/request_check.h"
#include "lm_service/scheduler/scheduler.h"
#include "lm_service/service/wire.h"
#include "runtime/base/check.h"
#include "runtime/ops/paged_cache.h"

namespace vl2 {
namespace {

constexpr int64_t kHidden = 8;
constexpr int kMaxSteps = 40;

struct SilentSink : GenerateSink {
  int num_finished = 0;

  void OnSlotNeeded(int, int64_t) override {}
  void OnPrefill(int64_t, int64_t) override {}
  void OnToken(int, const SampledToken&) override {}
  void OnSampleFinished(int, FinishReason) override {}
  void OnFinished(const absl::Status&, const GenerateStats&) override { ++num_finished; }
};

LanguageConfig Config() {
  LanguageConfig config;
  config.hidden_size = kHidden;
  config.vocab_size = 512;
  config.max_position_embeddings = 1024;
  return config;
}

EngineOptions Options() {
  EngineOptions options;
  options.scheduler = {.num_blocks = 24, .max_running = 4, .max_batch_tokens = 256};
  options.end_token_id = 1;
  return options;
}

// The embeddings of every picture, at once.
void UploadAll(Sequence& sequence, Sequence::Clock::time_point now) {
  for (size_t i = 0; i < sequence.slots().size(); ++i) {
    const int64_t count = sequence.slots()[i].num_embeddings();
    const std::vector<float> rows(static_cast<size_t>(count * kHidden), 1.0f);
    sequence.AddEmbeddings(static_cast<int>(i), 0, {rows.data(), count, kHidden}, now);
  }
}

void Step(Scheduler& scheduler, Sequence::Clock::time_point now) {
  const std::vector<StepRows> step = scheduler.PlanStep(now);
  for (const StepRows& rows : step) {
    const auto num_blocks = static_cast<int64_t>(rows.sequence->BlockTable(rows.sample).size());
    VL2_CHECK(rows.first_position + rows.num_rows <= num_blocks * kBlockTokens)
        << rows.first_position << "+" << rows.num_rows << " in " << num_blocks << " blocks";
  }
  scheduler.CommitStep(step, 1, [](int32_t, int32_t) {});
  std::vector<uint64_t> ended;
  for (const StepRows& rows : step) {
    if (!rows.wants_logits) continue;
    Sequence& sequence = *rows.sequence;
    for (int i = 0; i < sequence.request().num_samples; ++i) {
      const bool is_first = rows.sample < 0 && sequence.sample(i).generated.empty();
      if (!is_first && rows.sample != i) continue;
      SampledToken token;
      token.id = (i + static_cast<int32_t>(rows.first_position)) % 512;
      sequence.TakeToken(i, token, now);
    }
    if (sequence.finished()) ended.push_back(rows.id);
  }
  for (const uint64_t id : ended) scheduler.Finish(id, absl::OkStatus(), now);
}

void Serve(const GenerateRequest& request, const SequenceLimits& limits) {
  Sequence::Clock::time_point now{std::chrono::hours(1)};
  PrefixCache cache;
  Scheduler scheduler(Options().scheduler, cache);
  // Three times, so that the later find a cached prefix and compete for blocks.
  std::vector<std::shared_ptr<SilentSink>> sinks;
  for (uint64_t id = 1; id <= 3; ++id) {
    sinks.push_back(std::make_shared<SilentSink>());
    GenerateRequest copy = request;
    if (id == 3) copy.client_id += "x";
    auto sequence = std::make_unique<Sequence>(id, std::move(copy), sinks.back(), limits, now);
    sequence->PinPrefix(cache);
    scheduler.Add(std::move(sequence), now);
    Step(scheduler, now);
    if (Sequence* const added = scheduler.Find(id)) UploadAll(*added, now);
  }
  for (int i = 0; i < kMaxSteps; ++i) {
    now += std::chrono::milliseconds(1);
    scheduler.Expire(now);
    Step(scheduler, now);
  }
  for (uint64_t id = 1; id <= 3; ++id) scheduler.Finish(id, absl::CancelledError("end"), now);
  for (const auto& sink : sinks) VL2_CHECK(sink->num_finished == 1) << sink->num_finished;
  VL2_CHECK(scheduler.num_blocks_in_use() == 0) << scheduler.num_blocks_in_use();
  VL2_CHECK(scheduler.reserved_bytes() == 0) << scheduler.reserved_bytes();
  VL2_CHECK(scheduler.num_clients() == 0) << scheduler.num_clients();
}

}  // namespace
}  // namespace vl2

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::v1::GenerateRequest wire;
  if (!wire.ParseFromArray(data, static_cast<int>(size))) return 0;
  auto request = vl2::FromWire(wire);
  if (!request.ok()) return 0;
  const auto limits = vl2::CheckRequest(*request, vl2::Config(), vl2::Options());
  if (limits.ok()) vl2::Serve(*request, *limits);
  return 0;
}
