// ChatTask: what a client asks, and ChatEvent: what it hears, whichever protocol it speaks.
//
// Plain values, free of gRPC, HTTP and JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "runtime/trace/span.h"
#include "text/chat_template.h"
#include "text/grounding.h"

namespace vl2::gateway {

using Clock = std::chrono::steady_clock;

struct TaskLimits {
  static constexpr int kMaxSamples = 16;
  static constexpr size_t kMaxStops = 16;
  static constexpr size_t kMaxStopBytes = 256;
  static constexpr size_t kMaxStopTokens = 256;
  static constexpr size_t kMaxLogitBias = 1024;
  static constexpr int kMaxTopLogprobs = 20;
  static constexpr size_t kMaxImages = 64;
  static constexpr int kMaxTiles = 64;
  static constexpr size_t kMaxNameBytes = 128;  // request ids
  static constexpr size_t kMaxSaltBytes = 256;
};

// The range of a field, both ends included unless `open_low`. One range and one wording, whichever
// protocol the field came by.
struct NumberRange {
  const char* name;
  double low;
  double high;
  bool open_low = false;
};
struct IntegerRange {
  const char* name;
  int64_t low;
  int64_t high;
};

// Those of vl2.v1.SamplingParams, by the names that clients use.
inline constexpr NumberRange kTemperatureRange{"temperature", 0, 10};
inline constexpr NumberRange kTopPRange{"top_p", 0, 1};
inline constexpr NumberRange kMinPRange{"min_p", 0, 1};
inline constexpr NumberRange kRepetitionPenaltyRange{"repetition_penalty", 0, 10, true};
inline constexpr NumberRange kPresencePenaltyRange{"presence_penalty", -2, 2};
inline constexpr NumberRange kFrequencyPenaltyRange{"frequency_penalty", -2, 2};
inline constexpr NumberRange kLogitBiasRange{"logit_bias", -100, 100};
inline constexpr IntegerRange kTopKRange{"top_k", 0, INT32_MAX};
inline constexpr IntegerRange kTopLogprobsRange{"top_logprobs", 0, TaskLimits::kMaxTopLogprobs};
inline constexpr IntegerRange kSamplesRange{"n", 1, TaskLimits::kMaxSamples};

// INVALID_ARGUMENT naming value and range; its param is `path`, or the range's name.
absl::Status CheckRange(const NumberRange& range, double value, std::string_view path = {});
absl::Status CheckRange(const IntegerRange& range, int64_t value, std::string_view path = {});
// For a value that no int64 holds.
absl::Status OutOfRange(const IntegerRange& range, double value, std::string_view path);

enum class ImagePolicy { kServing, kPublished };

// How a picture is cut. kPublishedRule: the best of all candidates, but one tile each when the
// conversation holds three or more pictures.
struct TilingChoice {
  enum class Kind { kPublishedRule, kBestOfAll, kSingleTile, kMaxTiles, kFixed };
  Kind kind = Kind::kPublishedRule;
  int max_tiles = 0;
  int tiles_wide = 0;
  int tiles_high = 0;
};

struct TaskImage {
  std::shared_ptr<const std::string> bytes;  // the file; shared, never copied
  ImagePolicy policy = ImagePolicy::kServing;
  TilingChoice tiling;
};

// The order in which they apply and their ranges are those of vl2.v1.SamplingParams.
struct SamplingChoice {
  double temperature = 0.4;
  double top_p = 0.9;
  int64_t top_k = 50;
  double min_p = 0;
  double repetition_penalty = 1.1;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  std::map<int32_t, double> logit_bias;
  uint64_t seed = 0;
  bool logprobs = false;
  int top_logprobs = 0;
};

struct ChatTask {
  std::vector<ChatMessage> messages;
  std::vector<TaskImage> images;  // in order of the messages' image parts
  SamplingChoice sampling;
  int64_t max_new_tokens = 0;  // 0: what the context leaves
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  int num_samples = 1;
  bool grounding_control = true;
  bool ignore_end_token = false;
  std::string request_id;
  std::string cache_salt;
  std::string client_id;  // clients take turns where they compete (client_name.h)
  int priority = 0;       // of what waits the highest goes first
  Clock::time_point deadline = Clock::time_point::max();
  TracePoint trace = {};  // below it the request's spans begin
};

// INVALID_ARGUMENT naming the field, its value and the limit; ParamOf(status) is the field's name.
absl::Status ValidateTask(const ChatTask& task);

// INVALID_ARGUMENT that says which field of the request is at fault (error_details.h).
absl::Status ParamError(std::string_view param, std::string_view message,
                        std::string_view reason = {});

struct TokenChoice {
  int32_t id = 0;
  float logprob = 0;
};

// One token of an answer, with its log-probabilities when they were asked for.
struct AnswerToken {
  int32_t id = 0;
  float logprob = 0;
  std::vector<TokenChoice> top;
};

enum class FinishReason { kStop, kLength };

// The language service has taken the request.
struct ChatAccepted {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
};
struct ChatProgress {
  int encoded_tiles = 0;
  int num_tiles = 0;
  int64_t prefilled_tokens = 0;
  int64_t prompt_tokens = 0;
};
struct TextDelta {
  int sample = 0;
  std::string text;                 // valid UTF-8; may be empty
  std::vector<AnswerToken> tokens;  // those whose text is complete now; with logprobs only
};
struct BoxesFound {
  int sample = 0;
  std::string label;
  int image_index = 0;
  int64_t image_width = 0;  // pixels
  int64_t image_height = 0;
  std::vector<GroundingBox> boxes;
};
struct SampleEnd {
  int sample = 0;
  FinishReason reason = FinishReason::kStop;
};
// The last event, exactly once.
struct ChatEnd {
  absl::Status status;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  // Milliseconds from the start of the session.
  double first_token_ms = 0;
  double total_ms = 0;
  double encode_ms = 0;   // of the slowest picture
  double prefill_ms = 0;  // from acceptance to the first token
  double wait_ms = 0;     // for a pool of replicas
  int num_images = 0;
  int64_t num_tiles = 0;         // of those whose layout is known
  int64_t num_reused_tiles = 0;  // whose embeddings the vision service had
  // Where it was answered last; empty: nowhere. Several are separated by commas.
  std::string language_replica = {};
  std::string vision_replicas = {};
  int num_language_retries = 0;
  int num_vision_retries = 0;
};

using ChatEvent =
    std::variant<ChatAccepted, ChatProgress, TextDelta, BoxesFound, SampleEnd, ChatEnd>;

// Called one event at a time, from any thread; must not block.
using ChatSink = std::function<void(ChatEvent)>;

}  // namespace vl2::gateway
