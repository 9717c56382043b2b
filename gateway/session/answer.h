// Answer: the tokens of one sample as they arrive, turned into text, boxes and aligned tokens.
//
// Tokens -> IncrementalDetokenizer -> StopMatcher -> text; the text released is also read by the
// GroundingParser. Grounding tokens stay in the text, other special tokens do not. A token that
// ends the answer (the end token, a stop token) gives no text.
//
// Aligned tokens: all but the one that ends the answer. Each comes with the text that completes it,
// so that the bytes of those that give text, joined, are the text; the last one may reach into a
// stop string. A special token, or an id that the tokenizer does not have, gives no text and comes
// in its turn.
//
// Owns: what is held back. Borrows the tokenizer. Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/session/chat_task.h"
#include "text/incremental_detokenizer.h"
#include "text/stop_matcher.h"
#include "text/tokenizer.h"

namespace vl2::gateway {

class Answer {
 public:
  // `tokenizer` outlives this. Errors: INVALID_ARGUMENT for stop strings beyond StopMatcher's
  // limits.
  static absl::StatusOr<Answer> Create(const Tokenizer* tokenizer, const ChatTask& task);

  // What one piece of input has completed.
  struct Output {
    std::string text;
    std::vector<AnswerToken> tokens;
    std::vector<vl2::BoxGroup> boxes;
    bool empty() const { return text.empty() && tokens.empty() && boxes.empty(); }
  };

  // Takes the next token. Nothing comes out once done().
  Output Push(AnswerToken token);
  // No more tokens will come: what was held back. Afterwards done().
  Output Finish(FinishReason reason);

  bool done() const { return done_; }
  FinishReason reason() const { return reason_; }
  // Ids taken before the end, the one that ended it included.
  const std::vector<int32_t>& ids() const { return ids_; }
  // True when the last id ends an answer by itself.
  bool EndsWithStopToken() const;

 private:
  Answer(const Tokenizer* tokenizer, StopMatcher stops)
      : tokenizer_(tokenizer),
        detokenizer_(tokenizer, SkipSpecial::kAllButGrounding),
        stops_(std::move(stops)) {}

  bool IsStopToken(int32_t id) const;
  void Release(std::string text, Output& output);
  void ReleaseTokens(bool at_end, Output& output);

  struct PendingToken {
    AnswerToken token;
    int64_t begin = 0;  // of its text, in bytes
    int64_t end = 0;
    bool gives_text = true;
  };

  const Tokenizer* tokenizer_;
  IncrementalDetokenizer detokenizer_;
  StopMatcher stops_;
  GroundingParser grounding_;
  std::vector<int32_t> stop_token_ids_;
  bool end_token_stops_ = true;
  bool keep_tokens_ = false;
  std::deque<PendingToken> pending_;
  std::vector<int32_t> ids_;
  int64_t released_bytes_ = 0;
  bool done_ = false;
  FinishReason reason_ = FinishReason::kStop;
};

}  // namespace vl2::gateway
