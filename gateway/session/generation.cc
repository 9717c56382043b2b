#include "gateway/session/generation.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "runtime/base/check.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

void AppendOutput(Answer::Output more, Answer::Output& all) {
  all.text += more.text;
  std::move(more.tokens.begin(), more.tokens.end(), std::back_inserter(all.tokens));
  std::move(more.boxes.begin(), more.boxes.end(), std::back_inserter(all.boxes));
}

// What the language service alone can check, such as ids against its model's vocabulary, it refuses
// with a message that begins with the field's name, which is the name in clients' requests too.
absl::Status WithField(const absl::Status& status) {
  const std::string message = Message(status);
  const std::string first_word = message.substr(0, message.find_first_of(": "));
  for (const char* field :
       {"logit_bias", "stop_token_ids", "temperature", "top_p", "top_k", "min_p",
        "repetition_penalty", "presence_penalty", "frequency_penalty", "top_logprobs"}) {
    if (first_word == field) return ParamError(field, message);
  }
  return status;
}

}  // namespace

Generation::Generation(const ChatTask* task, int32_t image_token_id, std::vector<Answer> answers,
                       LanguageUpstream* language, std::shared_ptr<SessionThread> thread,
                       Sink* sink, TracePoint trace)
    : task_(*task),
      image_token_id_(image_token_id),
      language_(language),
      thread_(std::move(thread)),
      sink_(sink),
      trace_(std::move(trace)),
      answers_(std::move(answers)),
      num_replayed_(answers_.size(), 0) {}

void Generation::Start(std::shared_ptr<const std::vector<PromptSegment>> segments,
                       std::string model_id) {
  VL2_CHECK(state_ == State::kWaiting) << "generation started twice";
  segments_ = std::move(segments);
  model_id_ = std::move(model_id);
  Call();
}

void Generation::Call() {
  if (EndIfComplete()) return;
  state_ = State::kCalling;
  if (task_.num_samples > 1) {
    for (size_t i = 0; i < answers_.size(); ++i) num_replayed_[i] = answers_[i].ids().size();
  }
  auto stream = language_->Generate(
      MakeCall(), [this, thread = thread_, attempt = attempt_](GenerateEvent event) {
        thread->Post([this, attempt, event = std::move(event)]() mutable {
          if (attempt != attempt_ || state_ == State::kEnded) return;
          std::visit([this](auto& each) { On(std::move(each)); }, event);
        });
      });
  if (!stream.ok()) return Fail(stream.status());
  stream_ = *std::move(stream);
  replica_ = stream_->replica();
}

void Generation::Replace(const absl::Status& status) {
  if (stream_ != nullptr) stream_->Cancel();
  Fail(status);
}

void Generation::Cancel() {
  if (stream_ != nullptr) stream_->Cancel();
  stream_.reset();
  state_ = State::kEnded;
}

GenerateCall Generation::MakeCall() const {
  GenerateCall call;
  call.model_id = model_id_;
  call.pool = pool_;
  call.request_id = task_.request_id;
  call.segments = segments_;
  call.num_samples = task_.num_samples;
  call.sampling = task_.sampling;
  call.max_new_tokens = task_.max_new_tokens;
  call.stop_token_ids = task_.stop_token_ids;
  call.ignore_end_token = task_.ignore_end_token;
  call.cache_salt = task_.cache_salt;
  call.client_id = task_.client_id;
  call.priority = task_.priority;
  call.image_token_id = image_token_id_;
  call.deadline = task_.deadline;
  call.avoid = avoid_;
  call.trace = trace_;
  call.lost = lost_;
  if (task_.num_samples == 1) call.generated_prefix = answers_[0].ids();
  call.affinity = Affinity();
  return call;
}

// FNV-1a over the first image's key or the first ids, so that all gateways prefer the same replica.
uint64_t Generation::Affinity() const {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&hash](uint64_t value) { hash = (hash ^ value) * 0x100000001b3u; };
  for (const char c : task_.cache_salt) add(static_cast<unsigned char>(c));
  for (const PromptSegment& segment : *segments_) {
    if (const auto* image = std::get_if<PromptImage>(&segment)) {
      for (const char c : image->content_key) add(static_cast<unsigned char>(c));
      return hash;
    }
  }
  if (segments_->empty()) return hash;
  constexpr size_t kNumIds = 64;
  const auto& ids = std::get<std::vector<int32_t>>(segments_->front());
  for (size_t i = 0; i < std::min(ids.size(), kNumIds); ++i) add(static_cast<uint32_t>(ids[i]));
  return hash;
}

void Generation::On(const GenerateAccepted& accepted) {
  state_ = State::kPrefilling;
  accepted_ = accepted;
  if (accepted_.address.empty()) accepted_.address = stream_->replica();
  if (first_accepted_) return;
  first_accepted_ = ChatAccepted{accepted.prompt_tokens, accepted.cached_tokens};
  sink_->OnAccepted(*first_accepted_);
}

void Generation::On(const GenerateSlotNeeded& needed) {
  EncodeTarget target;
  target.first_embedding = needed.first_embedding;
  target.address = accepted_.address;
  target.sequence_id = accepted_.sequence_id;
  target.slot = needed.slot;
  target.upload_token = needed.upload_token;
  sink_->OnSlotNeeded(needed.slot, std::move(target));
}

bool Generation::CheckSample(int sample, const char* what) {
  if (sample >= 0 && sample < static_cast<int>(answers_.size())) return true;
  End(absl::InternalError(
      Cat("the language service ", what, " sample ", sample, " of ", answers_.size())));
  return false;
}

// Progress: whatever failed before has been overcome.
void Generation::OnToken() {
  state_ = State::kAnswering;
  retry_.OnSuccess();
  if (retry_.late()) return;
  pool_ = stream_->pool();
  retry_.OnFirstToken();
  sink_->OnFirstToken();
}

void Generation::On(GenerateTokens tokens) {
  const int sample = tokens.sample;
  if (!CheckSample(sample, "sent")) return;
  OnToken();
  Answer& answer = answers_[sample];
  Answer::Output all;
  for (AnswerToken& token : tokens.tokens) {
    if (num_replayed_[sample] > 0) {
      --num_replayed_[sample];
      continue;
    }
    if (answer.done()) break;
    ++num_generated_tokens_;
    AppendOutput(answer.Push(std::move(token)), all);
    if (answer.done()) {
      sink_->OnOutput(sample, std::move(all));
      return EndSample(sample);
    }
  }
  sink_->OnOutput(sample, std::move(all));
}

void Generation::On(const GenerateSampleEnd& end) {
  if (!CheckSample(end.sample, "ended")) return;
  Answer& answer = answers_[end.sample];
  if (answer.done()) return;
  sink_->OnOutput(end.sample, answer.Finish(end.reason));
  EndSample(end.sample);
}

void Generation::EndSample(int sample) {
  sink_->OnSampleEnd(SampleEnd{sample, answers_[sample].reason()});
  const bool all_done = std::all_of(answers_.begin(), answers_.end(),
                                    [](const Answer& answer) { return answer.done(); });
  if (all_done) End(absl::OkStatus());
}

void Generation::On(const GenerateClosed& closed) {
  Fail(closed.status.ok() ? absl::InternalError("the language service ended without an answer")
                          : closed.status);
}

// A lost replica may have sent all there was to send.
bool Generation::EndIfComplete() {
  if (task_.num_samples != 1 || answers_[0].ids().empty()) return false;
  const auto num_ids = static_cast<int64_t>(answers_[0].ids().size());
  const int64_t prompt_tokens = first_accepted_ ? first_accepted_->prompt_tokens : 0;
  const int64_t context = language_->max_context_tokens(model_id_);
  const bool full = (task_.max_new_tokens > 0 && num_ids >= task_.max_new_tokens) ||
                    (context > 0 && prompt_tokens + num_ids >= context);
  if (!full) return false;
  sink_->OnOutput(0, answers_[0].Finish(FinishReason::kLength));
  EndSample(0);
  return true;
}

void Generation::Fail(const absl::Status& status) {
  const auto pause = retry_.OnFailure(status);
  if (!pause) {
    return End(absl::IsInvalidArgument(status) ? WithField(status) : Annotate(status, "language"));
  }
  if (stream_ != nullptr) {
    Log(Severity::kWarning, "language replica lost",
        {{"request", task_.request_id},
         {"replica", stream_->replica()},
         {"reason", Message(status)}});
    avoid_.push_back(stream_->replica());
    lost_ = stream_->trace();
    stream_.reset();
  }
  state_ = State::kLost;
  ++attempt_;  // what the lost replica may still say is not heard
  sink_->OnSequenceLost();
  sink_->OnGenerationRetry(status, retry_.late());
  thread_->PostAfter(*pause, [this, attempt = attempt_] {
    if (state_ == State::kLost && attempt == attempt_) Call();
  });
}

void Generation::End(absl::Status status) {
  state_ = State::kEnded;
  sink_->OnGenerationEnd(std::move(status));
}

}  // namespace vl2::gateway
