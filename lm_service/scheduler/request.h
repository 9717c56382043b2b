// What a caller asks of the language engine, and what it hears back. Free of gRPC.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "lm_service/sampling/sampler.h"
#include "lm_service/sampling/sampling_params.h"
#include "lm_service/scheduler/sequence_timeline.h"

namespace vl2 {

// A place in the prompt for the embeddings of one picture.
struct ImagePart {
  // Which embeddings these are: equal keys, equal embeddings. Comes from the vision service, never
  // from a client. Empty: never shared through the prefix cache.
  std::string content_key;
  int64_t num_embeddings = 0;  // >= 1
};

// Token ids, or a picture.
using PromptPart = std::variant<std::vector<int32_t>, ImagePart>;

struct GenerateRequest {
  static constexpr int kMaxSamples = 16;
  static constexpr size_t kMaxParts = 4096;
  static constexpr size_t kMaxStopTokens = 256;

  std::string request_id;  // for logs
  std::string client_id;   // whose it is: clients take turns where they compete (client_name.h)
  int priority = 0;        // of what waits the highest goes first
  std::vector<PromptPart> parts;
  // The id that stands at the picture's positions in penalties, as in the published input ids.
  int32_t image_token_id = 0;
  // Tokens generated already (by a replica that was lost). Counted in max_new_tokens; not reported
  // again. The continuation is the one an unbroken run would have given.
  std::vector<int32_t> generated_prefix;
  int num_samples = 1;  // 1..kMaxSamples; sample i draws with seed + i
  SamplingParams sampling;
  int64_t max_new_tokens = 0;           // 0: what the context leaves
  std::vector<int32_t> stop_token_ids;  // each ends a sample and is reported as its last token
  bool ignore_end = false;              // the model's end token does not end a sample
  std::string cache_salt;               // requests share prefixes only within one salt
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::shared_ptr<SequenceTimeline> timeline;  // null: the request is not traced
};

enum class FinishReason { kStop, kLength };

struct GenerateStats {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, found in the prefix cache
  int64_t generated_tokens = 0;
  int64_t num_preemptions = 0;
  bool was_queued = false;
  bool was_admitted = false;
  double queue_ms = 0;    // from submission to admission, or to the end before it
  double prefill_ms = 0;  // from admission to the first token
  double decode_ms = 0;   // from the first token to the end
};

// Receives a request's events. Called by the engine thread, in order; must not block or call back
// into the engine, Engine::Cancel aside. OnFinished is the last call, made exactly once.
class GenerateSink {
 public:
  virtual ~GenerateSink() = default;
  // Embeddings [first_embedding, num_embeddings) of a picture are needed. May come again, with a
  // lower number, when a cached prefix was lost. `slot` counts the prompt's pictures.
  virtual void OnSlotNeeded(int slot, int64_t first_embedding) = 0;
  virtual void OnPrefill(int64_t done_tokens, int64_t prompt_tokens) = 0;
  virtual void OnToken(int sample, const SampledToken& token) = 0;
  virtual void OnSampleFinished(int sample, FinishReason reason) = 0;
  virtual void OnFinished(const absl::Status& status, const GenerateStats& stats) = 0;
};

}  // namespace vl2
