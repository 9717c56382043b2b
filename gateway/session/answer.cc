#include "gateway/session/answer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "runtime/base/status.h"

namespace vl2::gateway {

absl::StatusOr<Answer> Answer::Create(const Tokenizer* tokenizer, const ChatTask& task) {
  VL2_ASSIGN_OR_RETURN(StopMatcher stops, StopMatcher::Create(task.stop));
  Answer answer(tokenizer, std::move(stops));
  answer.stop_token_ids_ = task.stop_token_ids;
  answer.end_token_stops_ = !task.ignore_end_token;
  answer.keep_tokens_ = task.sampling.logprobs;
  return answer;
}

bool Answer::IsStopToken(int32_t id) const {
  if (end_token_stops_ && id == tokenizer_->control_ids().end) return true;
  return std::find(stop_token_ids_.begin(), stop_token_ids_.end(), id) != stop_token_ids_.end();
}

bool Answer::EndsWithStopToken() const { return !ids_.empty() && IsStopToken(ids_.back()); }

Answer::Output Answer::Push(AnswerToken token) {
  Output output;
  if (done_) return output;
  ids_.push_back(token.id);
  if (IsStopToken(token.id)) return Finish(FinishReason::kStop);

  const int32_t id = token.id;
  const int64_t begin = detokenizer_.num_text_bytes();
  std::string text = detokenizer_.Push(id);
  const bool gives_text = !tokenizer_->IsSkipped(id, SkipSpecial::kAllButGrounding) &&
                          !tokenizer_->TokenBytes(id).empty();
  if (keep_tokens_) {
    pending_.push_back({std::move(token), begin, detokenizer_.num_text_bytes(), gives_text});
  }
  Release(stops_.Push(text), output);
  if (stops_.stop()) {
    done_ = true;
    reason_ = FinishReason::kStop;
    ReleaseTokens(/*at_end=*/true, output);
  }
  return output;
}

Answer::Output Answer::Finish(FinishReason reason) {
  Output output;
  if (done_) return output;
  done_ = true;
  reason_ = reason;
  Release(stops_.Push(detokenizer_.Finish()), output);
  if (stops_.stop()) {
    reason_ = FinishReason::kStop;
  } else {
    Release(stops_.Finish(), output);
  }
  ReleaseTokens(/*at_end=*/true, output);
  return output;
}

void Answer::Release(std::string text, Output& output) {
  if (!text.empty()) {
    released_bytes_ += static_cast<int64_t>(text.size());
    for (GroundingEvent& event : grounding_.Push(text)) {
      if (auto* group = std::get_if<BoxGroup>(&event)) output.boxes.push_back(std::move(*group));
    }
    output.text += text;
  }
  ReleaseTokens(/*at_end=*/false, output);
}

void Answer::ReleaseTokens(bool at_end, Output& output) {
  while (!pending_.empty()) {
    const PendingToken& next = pending_.front();
    // Part of a character: goes out with the token that completes it.
    const bool whole = next.end > next.begin || !next.gives_text;
    const bool complete = whole && next.end <= released_bytes_;
    const bool overtaken = next.end == next.begin && next.end < released_bytes_;
    const bool cut = at_end && next.begin < released_bytes_;
    const bool open = at_end && !stops_.stop();
    if (!complete && !overtaken && !cut && !open) break;
    output.tokens.push_back(std::move(pending_.front().token));
    pending_.pop_front();
  }
}

}  // namespace vl2::gateway
