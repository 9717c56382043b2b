#include "gateway/session/chat_session.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

double MsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// The last picture before the last text of the last user message; without one, the last of all.
int PictureOfQuestion(const std::vector<ChatMessage>& messages) {
  int num_images = 0;
  int before_text = -1;
  for (const ChatMessage& message : messages) {
    for (const ContentPart& part : message.parts) {
      if (part.kind == ContentPart::Kind::kImage) {
        ++num_images;
      } else if (message.role == ChatRole::kUser && !part.text.empty()) {
        before_text = num_images - 1;
      }
    }
  }
  return before_text >= 0 ? before_text : num_images - 1;
}

}  // namespace

std::shared_ptr<ChatSession> ChatSession::Start(const ChatBackend& backend, ChatTask task,
                                                ChatSink sink) {
  std::shared_ptr<ChatSession> session(new ChatSession(backend, std::move(task), std::move(sink)));
  session->mailbox_.Post([session] { session->Begin(); });
  return session;
}

ChatSession::ChatSession(const ChatBackend& backend, ChatTask task, ChatSink sink)
    : backend_(backend), task_(std::move(task)), sink_(std::move(sink)) {}

ChatSession::~ChatSession() { ReleaseUpstreams(); }

void ChatSession::Cancel() {
  mailbox_.Post([self = shared_from_this()] {
    self->Finish(absl::CancelledError("the client has cancelled the request"));
  });
}

void ChatSession::Begin() {
  if (const absl::Status status = Prepare(); !status.ok()) return Finish(status);
  if (task_.deadline != Clock::time_point::max()) {
    deadline_timer_ = backend_.timers->At(task_.deadline, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->mailbox_.Post([self] {
        self->Finish(absl::DeadlineExceededError("the request took longer than its time limit"));
      });
    });
  }
  if (pictures_.empty()) {
    counted_ = true;
    return StartGenerating();
  }
  for (int i = 0; i < static_cast<int>(pictures_.size()) && !done_; ++i) OpenPicture(i);
}

absl::Status ChatSession::Prepare() {
  VL2_RETURN_IF_ERROR(backend_.admit());
  VL2_RETURN_IF_ERROR(ValidateTask(task_));
  ChatTemplateOptions options;
  options.grounding_control = task_.grounding_control;
  // Clients that ask for the published treatment of every picture bring the white space as well.
  const auto serving = [](const TaskImage& image) { return image.policy == ImagePolicy::kServing; };
  options.newline_between_parts =
      task_.images.empty() || std::any_of(task_.images.begin(), task_.images.end(), serving);
  auto prompt = RenderChat(*backend_.tokenizer, task_.messages, options);
  if (!prompt.ok()) return ParamError("messages", Message(prompt.status()));
  prompt_ = *std::move(prompt);
  for (int i = 0; i < task_.num_samples; ++i) {
    VL2_ASSIGN_OR_RETURN(Answer answer, Answer::Create(backend_.tokenizer, task_));
    answers_.push_back(std::move(answer));
  }
  replayed_.assign(answers_.size(), 0);
  pictures_.resize(task_.images.size());
  boxes_image_ = PictureOfQuestion(task_.messages);
  // Text alone may be too long already; pictures can only add.
  return CheckFits(prompt_.num_text_tokens());
}

absl::Status ChatSession::CheckFits(int64_t prompt_tokens) const {
  const int64_t context = backend_.language->max_context_tokens();
  if (context <= 0 || prompt_tokens < context) return absl::OkStatus();
  return ParamError("messages",
                    Cat("the prompt has ", counted_ || pictures_.empty() ? "" : "at least ",
                        prompt_tokens, " tokens, the context has room for ", context - 1,
                        " and one of the answer; shorten the text, or give pictures fewer tiles"),
                    "context_length_exceeded");
}

// ---- Pictures ----

void ChatSession::OpenPicture(int index) {
  if (done_) return;
  Picture& picture = pictures_[index];
  if (picture.stream != nullptr) picture.stream->Cancel();
  picture.stream.reset();
  ImageRequest request;
  request.request_id = task_.request_id;
  request.client_id = task_.client_id;
  request.image = task_.images[index];
  using Kind = TilingChoice::Kind;
  if (request.image.tiling.kind == Kind::kPublishedRule) {
    request.image.tiling.kind = task_.images.size() >= 3 ? Kind::kSingleTile : Kind::kBestOfAll;
  }
  request.deadline = task_.deadline;
  request.avoid = picture.avoid;
  const int attempt = ++picture.attempt;
  auto stream =
      backend_.vision->Open(request, [weak = weak_from_this(), index, attempt](ImageEvent event) {
        const auto self = weak.lock();
        if (self == nullptr) return;
        self->mailbox_.Post([self, index, attempt, event = std::move(event)]() mutable {
          self->OnImage(index, attempt, std::move(event));
        });
      });
  if (!stream.ok()) return PictureFailed(index, stream.status());
  picture.stream = *std::move(stream);
  if (picture.need) Deliver(index);
}

void ChatSession::ReopenPicture(int index) {
  Picture& picture = pictures_[index];
  // Meanwhile it may have become unnecessary: the sequence it was for is gone.
  if (picture.layout && !picture.key.empty() && !picture.need) return;
  OpenPicture(index);
}

void ChatSession::OnImage(int index, int attempt, ImageEvent event) {
  if (done_ || attempt != pictures_[index].attempt) return;
  if (const auto* layout = std::get_if<ImageLayout>(&event)) return OnLayout(index, *layout);
  if (const auto* key = std::get_if<ImageKey>(&event)) return OnKey(index, *key);
  if (const auto* progress = std::get_if<ImageProgress>(&event)) {
    pictures_[index].progress = *progress;
    return EmitProgress();
  }
  if (const auto* delivered = std::get_if<ImageDelivered>(&event)) {
    return OnDelivered(index, *delivered);
  }
  OnImageClosed(index, std::get<ImageClosed>(event).status);
}

void ChatSession::OnLayout(int index, const ImageLayout& layout) {
  Picture& picture = pictures_[index];
  if (picture.layout) {
    if (picture.layout->num_embeddings == layout.num_embeddings) return;
    return Finish(absl::InternalError(Cat("picture ", index, " has ", layout.num_embeddings,
                                          " embeddings at ", picture.stream->replica(), " and ",
                                          picture.layout->num_embeddings, " elsewhere")));
  }
  picture.layout = layout;
  std::vector<int64_t> num_embeddings;
  for (const Picture& each : pictures_) {
    if (!each.layout) return;
    num_embeddings.push_back(each.layout->num_embeddings);
  }
  const auto prompt_tokens = CountTokens(prompt_, num_embeddings);
  if (!prompt_tokens.ok()) return Finish(prompt_tokens.status());
  counted_ = true;
  if (const absl::Status fits = CheckFits(*prompt_tokens); !fits.ok()) return Finish(fits);
  if (backend_.prepare) {
    for (Picture& each : pictures_) {
      if (each.stream != nullptr) each.stream->Prepare();
    }
  }
  StartGenerating();
}

void ChatSession::OnKey(int index, const ImageKey& key) {
  Picture& picture = pictures_[index];
  if (key.key.empty()) return Finish(absl::InternalError("vision sent an empty content key"));
  if (picture.key.empty()) {
    picture.key = key.key;
    return StartGenerating();
  }
  if (picture.key == key.key) return;
  Finish(absl::InternalError(Cat("picture ", index, " has another content key at ",
                                 picture.stream->replica(), " than elsewhere")));
}

void ChatSession::Deliver(int index) {
  Picture& picture = pictures_[index];
  EncodeTarget target;
  target.delivery_id = picture.delivery_id = next_delivery_++;
  target.first_embedding = picture.need->first_embedding;
  target.address = accepted_.address;
  target.sequence_id = accepted_.sequence_id;
  target.slot = index;
  target.upload_token = picture.need->upload_token;
  picture.stream->Deliver(target);
}

void ChatSession::OnDelivered(int index, const ImageDelivered& delivered) {
  Picture& picture = pictures_[index];
  picture.encode_ms = std::max(picture.encode_ms, delivered.encode_ms);
  if (!picture.need || delivered.delivery_id != picture.delivery_id) return;
  // NOT_FOUND: the sequence has ended. Its own stream says how.
  if (!delivered.status.ok() && !absl::IsNotFound(delivered.status)) {
    // Vision is there and says that it cannot reach the language service. Another vision service
    // may; when that fails too, the sequence is where nothing gets in, such as in a service that
    // is about to stop.
    if (absl::IsUnavailable(delivered.status) && ++picture.undelivered > 1 &&
        generate_ != nullptr) {
      picture.undelivered = 0;
      ++generate_attempt_;  // what it still says is not heard
      generate_->Cancel();
      return GenerateFailed(delivered.status);
    }
    return PictureFailed(index, delivered.status);
  }
  picture.undelivered = 0;
  picture.need.reset();
  if (first_token_at_ && picture.stream != nullptr) picture.stream->Close();
}

void ChatSession::OnImageClosed(int index, const absl::Status& status) {
  Picture& picture = pictures_[index];
  const bool idle = picture.layout && !picture.key.empty() && !picture.need;
  if (absl::IsInvalidArgument(status) && !first_token_at_) return PictureFailed(index, status);
  // Nothing is lost: the bytes are here, and the picture is sent again when it is needed.
  if (idle) {
    picture.stream.reset();
    return;
  }
  PictureFailed(index,
                status.ok() ? absl::UnavailableError("vision ended the stream early") : status);
}

void ChatSession::PictureFailed(int index, const absl::Status& status) {
  // Of the header, or of pixels that turned out broken when they were decoded.
  if (absl::IsInvalidArgument(status)) {
    return Finish(
        ParamError("messages", Cat("picture ", index, ": ", Message(status)), "invalid_image"));
  }
  Picture& picture = pictures_[index];
  ++picture.failures;
  const bool full = absl::IsResourceExhausted(status);
  const bool lost =
      absl::IsUnavailable(status) || absl::IsCancelled(status) || absl::IsAborted(status);
  const int limit = full ? 1 : first_token_at_ ? kMaxLateFailures : kMaxEarlyFailures;
  if ((!full && !lost) || picture.failures > limit) {
    return Finish(Annotate(status, Cat("vision, picture ", index)));
  }
  if (picture.stream != nullptr) {
    Log(Severity::kWarning, "vision replica lost",
        {{"request", task_.request_id},
         {"replica", picture.stream->replica()},
         {"reason", Message(status)}});
    picture.avoid.push_back(picture.stream->replica());
    // A delivery that failed leaves the stream open, in case it is not needed any more.
  }
  Later(picture.failures, &ChatSession::ReopenPicture, index);
}

// ---- Generation ----

void ChatSession::StartGenerating() {
  if (done_ || !counted_ || segments_ != nullptr) return;
  for (const Picture& picture : pictures_) {
    if (picture.key.empty()) return;
  }
  auto segments = std::make_shared<std::vector<PromptSegment>>();
  for (const auto& segment : prompt_.segments) {
    if (const auto* slot = std::get_if<ImageSlot>(&segment)) {
      const Picture& picture = pictures_[slot->image_index];
      segments->push_back(PromptImage{picture.key, picture.layout->num_embeddings});
    } else {
      segments->push_back(std::get<Prompt::TokenIds>(segment));
    }
  }
  segments_ = std::move(segments);
  Regenerate(generate_attempt_);
}

GenerateCall ChatSession::MakeCall() const {
  GenerateCall call;
  call.request_id = task_.request_id;
  call.segments = segments_;
  call.num_samples = task_.num_samples;
  call.sampling = task_.sampling;
  call.max_new_tokens = task_.max_new_tokens;
  call.stop_token_ids = task_.stop_token_ids;
  call.ignore_end_token = task_.ignore_end_token;
  call.cache_salt = task_.cache_salt;
  call.client_id = task_.client_id;
  call.image_token_id = backend_.tokenizer->control_ids().image;
  call.deadline = task_.deadline;
  call.avoid = generate_avoid_;
  if (task_.num_samples == 1) call.generated_prefix = answers_[0].ids();

  // FNV-1a, so that all gateways prefer the same replica.
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&hash](uint64_t value) { hash = (hash ^ value) * 0x100000001b3u; };
  for (const char c : task_.cache_salt) add(static_cast<unsigned char>(c));
  if (!pictures_.empty()) {
    for (const char c : pictures_[0].key) add(static_cast<unsigned char>(c));
  } else if (!segments_->empty()) {
    const auto* ids = std::get_if<std::vector<int32_t>>(&segments_->front());
    constexpr size_t kNumIds = 64;
    for (size_t i = 0; ids != nullptr && i < std::min(ids->size(), kNumIds); ++i) {
      add(static_cast<uint32_t>((*ids)[i]));
    }
  }
  call.affinity = hash;
  return call;
}

void ChatSession::Regenerate(int attempt) {
  if (done_ || attempt != generate_attempt_) return;
  if (FinishIfComplete()) return;
  const int this_attempt = ++generate_attempt_;
  if (task_.num_samples > 1) {
    for (size_t i = 0; i < answers_.size(); ++i) replayed_[i] = answers_[i].ids().size();
  }
  auto stream = backend_.language->Generate(
      MakeCall(), [weak = weak_from_this(), this_attempt](GenerateEvent event) {
        const auto self = weak.lock();
        if (self == nullptr) return;
        self->mailbox_.Post([self, this_attempt, event = std::move(event)]() mutable {
          self->OnGenerate(this_attempt, std::move(event));
        });
      });
  if (!stream.ok()) return GenerateFailed(stream.status());
  generate_ = *std::move(stream);
}

void ChatSession::OnGenerate(int attempt, GenerateEvent event) {
  if (done_ || attempt != generate_attempt_) return;
  if (auto* tokens = std::get_if<GenerateTokens>(&event)) return OnTokens(std::move(*tokens));
  if (const auto* accepted = std::get_if<GenerateAccepted>(&event)) return OnAccepted(*accepted);
  if (const auto* needed = std::get_if<GenerateSlotNeeded>(&event)) return OnSlotNeeded(*needed);
  if (const auto* prefill = std::get_if<GeneratePrefill>(&event)) {
    progress_.prefilled_tokens = prefill->done_tokens;
    progress_.prompt_tokens = prefill->prompt_tokens;
    return EmitProgress();
  }
  if (const auto* end = std::get_if<GenerateSampleEnd>(&event)) return OnSampleEnd(*end);
  OnGenerateClosed(std::get<GenerateClosed>(event).status);
}

void ChatSession::OnAccepted(const GenerateAccepted& accepted) {
  accepted_ = accepted;
  if (accepted_.address.empty()) accepted_.address = generate_->replica();
  if (ever_accepted_) return;
  ever_accepted_ = true;
  accepted_at_ = Clock::now();
  end_.prompt_tokens = accepted.prompt_tokens;
  end_.cached_tokens = accepted.cached_tokens;
  sink_(ChatAccepted{accepted.prompt_tokens, accepted.cached_tokens});
}

void ChatSession::OnSlotNeeded(const GenerateSlotNeeded& needed) {
  if (needed.slot < 0 || needed.slot >= static_cast<int>(pictures_.size())) {
    return Finish(absl::InternalError(
        Cat("the language service asks for slot ", needed.slot, " of ", pictures_.size())));
  }
  Picture& picture = pictures_[needed.slot];
  picture.need = needed;
  // After the first token the stream is half-closed: the picture is sent again.
  if (picture.stream == nullptr || first_token_at_) return OpenPicture(needed.slot);
  Deliver(needed.slot);
}

void ChatSession::OnFirstToken() {
  first_token_at_ = Clock::now();
  end_.first_token_ms = MsBetween(start_, *first_token_at_);
  end_.prefill_ms = MsBetween(accepted_at_, *first_token_at_);
  for (Picture& picture : pictures_) {
    // A token came, so all embeddings had arrived, whether vision has said so or not.
    if (task_.num_samples == 1) picture.need.reset();
    if (!picture.need && picture.stream != nullptr) picture.stream->Close();
  }
}

void ChatSession::OnTokens(GenerateTokens tokens) {
  const int sample = tokens.sample;
  if (sample < 0 || sample >= static_cast<int>(answers_.size())) {
    return Finish(absl::InternalError(
        Cat("the language service sent sample ", sample, " of ", answers_.size())));
  }
  if (!first_token_at_) OnFirstToken();
  generate_failures_ = 0;
  Answer& answer = answers_[sample];
  Answer::Output all;
  for (AnswerToken& token : tokens.tokens) {
    if (replayed_[sample] > 0) {
      --replayed_[sample];
      continue;
    }
    if (answer.done()) break;
    ++end_.generated_tokens;
    Answer::Output output = answer.Push(std::move(token));
    all.text += output.text;
    std::move(output.tokens.begin(), output.tokens.end(), std::back_inserter(all.tokens));
    std::move(output.boxes.begin(), output.boxes.end(), std::back_inserter(all.boxes));
    if (answer.done()) {
      Emit(sample, std::move(all));
      return EndSample(sample);
    }
  }
  Emit(sample, std::move(all));
}

void ChatSession::Emit(int sample, Answer::Output output) {
  if (!output.text.empty() || !output.tokens.empty()) {
    sink_(TextDelta{sample, std::move(output.text), std::move(output.tokens)});
  }
  for (BoxGroup& group : output.boxes) {
    BoxesFound found;
    found.sample = sample;
    found.label = std::move(group.label);
    found.boxes = std::move(group.boxes);
    if (boxes_image_ >= 0) {
      found.image_index = boxes_image_;
      found.image_width = pictures_[boxes_image_].layout->width;
      found.image_height = pictures_[boxes_image_].layout->height;
    }
    sink_(std::move(found));
  }
}

void ChatSession::EndSample(int sample) {
  sink_(SampleEnd{sample, answers_[sample].reason()});
  const bool all_done = std::all_of(answers_.begin(), answers_.end(),
                                    [](const Answer& answer) { return answer.done(); });
  if (all_done) Finish(absl::OkStatus());
}

void ChatSession::OnSampleEnd(const GenerateSampleEnd& end) {
  if (end.sample < 0 || end.sample >= static_cast<int>(answers_.size())) {
    return Finish(absl::InternalError(
        Cat("the language service ended sample ", end.sample, " of ", answers_.size())));
  }
  Answer& answer = answers_[end.sample];
  if (answer.done()) return;
  Emit(end.sample, answer.Finish(end.reason));
  EndSample(end.sample);
}

// A lost replica may have sent all there was to send.
bool ChatSession::FinishIfComplete() {
  if (task_.num_samples != 1 || answers_[0].ids().empty()) return false;
  const auto num_ids = static_cast<int64_t>(answers_[0].ids().size());
  const int64_t context = backend_.language->max_context_tokens();
  const bool full = (task_.max_new_tokens > 0 && num_ids >= task_.max_new_tokens) ||
                    (context > 0 && end_.prompt_tokens + num_ids >= context);
  if (!full) return false;
  Emit(0, answers_[0].Finish(FinishReason::kLength));
  EndSample(0);
  return true;
}

void ChatSession::OnGenerateClosed(const absl::Status& status) {
  GenerateFailed(status.ok() ? absl::InternalError("the language service ended without an answer")
                             : status);
}

void ChatSession::GenerateFailed(const absl::Status& status) {
  ++generate_failures_;
  const bool full = absl::IsResourceExhausted(status) && !first_token_at_;
  const bool lost =
      absl::IsUnavailable(status) || absl::IsCancelled(status) || absl::IsAborted(status);
  const int limit = full ? 1 : first_token_at_ ? kMaxLateFailures : kMaxEarlyFailures;
  if ((!full && !lost) || generate_failures_ > limit) {
    return Finish(absl::IsInvalidArgument(status) ? status : Annotate(status, "language"));
  }
  if (generate_ != nullptr) {
    Log(Severity::kWarning, "language replica lost",
        {{"request", task_.request_id},
         {"replica", generate_->replica()},
         {"reason", Message(status)}});
    generate_avoid_.push_back(generate_->replica());
    generate_.reset();
  }
  // Slots of the lost sequence; the next one asks for its own.
  for (Picture& picture : pictures_) picture.need.reset();
  Later(generate_failures_, &ChatSession::Regenerate, generate_attempt_);
}

// ---- Both ----

void ChatSession::Later(int failures, void (ChatSession::*call)(int), int argument) {
  const auto delay = std::min(std::chrono::milliseconds(25) * (1 << std::min(failures, 10)),
                              std::chrono::milliseconds(2000));
  backend_.timers->At(Clock::now() + delay, [weak = weak_from_this(), call, argument] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->mailbox_.Post([self, call, argument] {
      if (!self->done_) (self.get()->*call)(argument);
    });
  });
}

void ChatSession::EmitProgress() {
  progress_.encoded_tiles = progress_.num_tiles = 0;
  for (const Picture& picture : pictures_) {
    progress_.encoded_tiles += picture.progress.encoded_tiles;
    progress_.num_tiles += picture.progress.num_tiles;
  }
  sink_(progress_);
}

void ChatSession::ReleaseUpstreams() {
  for (Picture& picture : pictures_) {
    if (picture.stream != nullptr) picture.stream->Cancel();
    picture.stream.reset();
  }
  if (generate_ != nullptr) generate_->Cancel();
  generate_.reset();
  if (deadline_timer_) backend_.timers->Cancel(*deadline_timer_);
  deadline_timer_.reset();
}

void ChatSession::Finish(absl::Status status) {
  if (done_) return;
  done_ = true;
  for (const Picture& picture : pictures_) {
    end_.encode_ms = std::max(end_.encode_ms, picture.encode_ms);
  }
  ReleaseUpstreams();
  end_.status = std::move(status);
  end_.total_ms = MsBetween(start_, Clock::now());
  const ChatSink sink = std::move(sink_);
  sink_ = nullptr;
  sink(end_);
}

}  // namespace vl2::gateway
