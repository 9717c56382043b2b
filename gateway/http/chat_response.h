// The JSON of answers and errors in OpenAI's shape, and the framing of server-sent events.
//
// Extensions: `boxes` in messages and deltas, `timings` (milliseconds) beside `usage`.
// Pure functions and plain accumulation; no I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "gateway/session/chat_task.h"
#include "runtime/base/json.h"
#include "text/tokenizer.h"

namespace vl2::gateway {

// What all JSON of one answer begins with.
struct AnswerIdentity {
  std::string id;
  std::string model;
  int64_t created = 0;  // seconds since 1970
};

int HttpStatusOf(const absl::Status& status);
// {"error": {"message", "type", "param", "code"}}
std::string ErrorBody(const absl::Status& status);

// Never fails: what is not UTF-8 becomes U+FFFD.
std::string Dump(const Json& json);
// "data: ...\n\n"
std::string SseEvent(std::string_view data);
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSseComment = ": waiting\n\n";

// Turns the events of a streamed answer into server-sent events.
class StreamFormatter {
 public:
  // `tokenizer` outlives this.
  StreamFormatter(AnswerIdentity identity, const Tokenizer* tokenizer, const ChatTask& task,
                  bool include_usage);

  // The events that begin every sample.
  std::string Begin() const;
  // Empty for events that are not told. ChatEnd gives usage (when asked for) or the error.
  std::string Format(const ChatEvent& event) const;

 private:
  Json Chunk() const;
  std::string Delta(int sample, Json delta, Json logprobs, Json finish_reason) const;

  const AnswerIdentity identity_;
  const Tokenizer* const tokenizer_;
  const int num_samples_;
  const bool logprobs_;
  const bool include_usage_;
};

// Gathers the events of an answer into one JSON object.
class WholeAnswer {
 public:
  WholeAnswer(AnswerIdentity identity, const Tokenizer* tokenizer, const ChatTask& task);

  void Add(const ChatEvent& event);
  // REQUIRES: ChatEnd has been added.
  std::string Body() const;

 private:
  struct Sample {
    std::string text;
    Json tokens = Json::array();
    Json boxes = Json::array();
    FinishReason reason = FinishReason::kStop;
  };
  const AnswerIdentity identity_;
  const Tokenizer* const tokenizer_;
  const bool logprobs_;
  std::vector<Sample> samples_;
  ChatEnd end_;
};

}  // namespace vl2::gateway
