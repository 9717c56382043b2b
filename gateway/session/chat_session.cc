#include "gateway/session/chat_session.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

// Between two looks for a pool that can serve.
constexpr std::chrono::milliseconds kReplicaPause{50};

double MsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// The last image before the last text of the last user message; without one, the last of all.
int ImageOfQuestion(const std::vector<ChatMessage>& messages) {
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

ChatTemplateOptions TemplateOptions(const ChatTask& task) {
  ChatTemplateOptions options;
  options.grounding_control = task.grounding_control;
  // Clients that ask for the published treatment of every image bring the white space as well.
  const auto serving = [](const TaskImage& image) { return image.policy == ImagePolicy::kServing; };
  options.newline_between_parts =
      task.images.empty() || std::any_of(task.images.begin(), task.images.end(), serving);
  return options;
}

}  // namespace

// The mailbox, to those who may outlive the session.
class ChatSession::Thread final : public SessionThread {
 public:
  Thread(std::weak_ptr<ChatSession> session, TimerQueue* timers)
      : session_(std::move(session)), timers_(timers) {}

  void Post(std::function<void()> work) override { PostTo(session_, std::move(work)); }
  void PostAfter(std::chrono::milliseconds delay, std::function<void()> work) override {
    timers_->At(Clock::now() + delay, [session = session_, work = std::move(work)]() mutable {
      PostTo(session, std::move(work));
    });
  }

 private:
  static void PostTo(const std::weak_ptr<ChatSession>& session, std::function<void()> work) {
    const auto self = session.lock();
    if (self == nullptr) return;
    self->mailbox_.Post([self, work = std::move(work)] {
      if (self->state_ != State::kEnded) work();
    });
  }

  const std::weak_ptr<ChatSession> session_;
  TimerQueue* const timers_;
};

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
  thread_ = std::make_shared<Thread>(weak_from_this(), backend_.timers);
  BeginSpan();
  if (const absl::Status status = ValidateTask(task_); !status.ok()) return Finish(status);
  if (task_.deadline != Clock::time_point::max()) {
    deadline_timer_ = backend_.timers->At(task_.deadline, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->mailbox_.Post([self] {
        self->Finish(absl::DeadlineExceededError("the request took longer than its time limit"));
      });
    });
  }
  if (backend_.observer != nullptr) {
    backend_.observer->OnImages(static_cast<int64_t>(task_.images.size()));
  }
  Enter();
}

void ChatSession::BeginSpan() {
  if (!task_.trace.recording()) {
    span_ = task_.trace.Begin({}, SpanKind::kInternal);
    return;
  }
  span_ = task_.trace.Begin(Cat("chat ", backend_.model_name), SpanKind::kInternal, start_);
  span_.Set("gen_ai.operation.name", "chat");
  span_.Set("gen_ai.request.model", backend_.model_name);
  span_.Set("vl2.images", task_.images.size());
}

void ChatSession::EndSpan() {
  span_.Set("gen_ai.usage.input_tokens", end_.prompt_tokens);
  span_.Set("gen_ai.usage.output_tokens", end_.generated_tokens);
  span_.Set("vl2.cached_tokens", end_.cached_tokens);
  span_.Set("vl2.tiles", end_.num_tiles);
  if (!absl::IsCancelled(end_.status)) span_.SetStatus(end_.status);
  span_.End();
}

void ChatSession::Enter() {
  auto model_id = backend_.admit(!task_.images.empty());
  if (!model_id.ok()) {
    if (!absl::IsUnavailable(model_id.status()) || Clock::now() >= start_ + backend_.replica_wait) {
      return Finish(model_id.status());
    }
    SetWaiting(true);
    return thread_->PostAfter(kReplicaPause, [this] { Enter(); });
  }
  SetWaiting(false);
  end_.wait_ms = MsBetween(start_, Clock::now());
  model_id_ = *std::move(model_id);
  state_ = State::kCounting;
  if (const absl::Status status = Prepare(); !status.ok()) return Finish(status);
  if (images_.empty()) return Generate();
  // Opening one may end all, or begin them again elsewhere.
  const int restarts = num_restarts_;
  for (size_t i = 0; i < images_.size(); ++i) {
    if (state_ == State::kEnded || num_restarts_ != restarts) return;
    images_[i]->Open();
  }
}

void ChatSession::SetWaiting(bool waiting) {
  if (waiting_ == waiting) return;
  waiting_ = waiting;
  if (backend_.num_waiting != nullptr) *backend_.num_waiting += waiting ? 1 : -1;
}

bool ChatSession::Restart(const absl::Status& status) {
  if (!absl::IsUnavailable(status) || end_.first_token_ms > 0 || num_restarts_ >= kMaxRestarts) {
    return false;
  }
  const auto model_id = backend_.admit(!task_.images.empty());
  if (!model_id.ok() || *model_id == model_id_) return false;
  Log(Severity::kInfo, "a request begins again with another model",
      {{"request", task_.request_id}, {"from", model_id_}, {"to", *model_id}});
  ++num_restarts_;
  for (auto& image : images_) {
    image->Retire();
    retired_images_.push_back(std::move(image));
  }
  images_.clear();
  if (generation_ != nullptr) {
    generation_->Cancel();
    retired_generations_.push_back(std::move(generation_));
  }
  progress_ = {};
  Enter();
  return true;
}

absl::Status ChatSession::Prepare() {
  VL2_RETURN_IF_ERROR(Render());
  std::vector<Answer> answers;
  for (int i = 0; i < task_.num_samples; ++i) {
    VL2_ASSIGN_OR_RETURN(Answer answer, Answer::Create(backend_.tokenizer, task_));
    answers.push_back(std::move(answer));
  }
  Generation::Sink* const sink = this;
  generation_ = std::make_unique<Generation>(&task_, backend_.tokenizer->control_ids().image,
                                             std::move(answers), backend_.language, thread_, sink,
                                             span_.point());
  MakeDeliveries();
  boxes_image_ = ImageOfQuestion(task_.messages);
  // Text alone may be too long already; images can only add.
  return CheckFits(prompt_.num_text_tokens(), images_.empty() ? "" : "at least ");
}

absl::Status ChatSession::Render() {
  Span span = span_.point().Begin("tokenize", SpanKind::kInternal);
  ChatTemplateOptions options = TemplateOptions(task_);
  options.max_prompt_tokens = backend_.language->max_context_tokens(model_id_);
  auto prompt = RenderChat(*backend_.tokenizer, task_.messages, options);
  if (!prompt.ok()) {
    const bool too_long = absl::IsOutOfRange(prompt.status());
    return ParamError("messages", Message(prompt.status()),
                      too_long ? "context_length_exceeded" : "");
  }
  prompt_ = *std::move(prompt);
  span.Set("vl2.tokens", prompt_.num_text_tokens());
  return absl::OkStatus();
}

void ChatSession::MakeDeliveries() {
  ImageDelivery::Sink* const sink = this;
  using Kind = TilingChoice::Kind;
  const Kind published = task_.images.size() >= 3 ? Kind::kSingleTile : Kind::kBestOfAll;
  for (const TaskImage& image : task_.images) {
    ImageRequest request;
    request.model_id = model_id_;
    request.request_id = task_.request_id;
    request.client_id = task_.client_id;
    request.priority = task_.priority;
    request.image = image;
    if (request.image.tiling.kind == Kind::kPublishedRule) request.image.tiling.kind = published;
    request.deadline = task_.deadline;
    request.trace = span_.point();
    images_.push_back(std::make_unique<ImageDelivery>(
        static_cast<int>(images_.size()), std::move(request), backend_.vision, thread_, sink));
  }
}

absl::Status ChatSession::CheckFits(int64_t prompt_tokens, const char* how_many) const {
  const int64_t context = backend_.language->max_context_tokens(model_id_);
  if (context <= 0 || prompt_tokens < context) return absl::OkStatus();
  return ParamError(
      "messages",
      Cat("the prompt has ", how_many, prompt_tokens, " tokens, the context has room for ",
          context - 1, " and one of the answer; shorten the text, or give pictures fewer tiles"),
      "context_length_exceeded");
}

void ChatSession::OnLayout() {
  std::vector<int64_t> num_embeddings;
  for (const auto& image : images_) {
    if (!image->layout()) return;
    num_embeddings.push_back(image->layout()->num_embeddings);
  }
  const auto prompt_tokens = CountTokens(prompt_, num_embeddings);
  if (!prompt_tokens.ok()) return Finish(prompt_tokens.status());
  if (const absl::Status fits = CheckFits(*prompt_tokens, ""); !fits.ok()) return Finish(fits);
  state_ = State::kKeying;
  if (backend_.prepare) {
    for (const auto& image : images_) image->Prepare();
  }
  OnKey();
}

void ChatSession::OnKey() {
  if (state_ != State::kKeying) return;
  for (const auto& image : images_) {
    if (image->key().empty()) return;
  }
  Generate();
}

void ChatSession::Generate() {
  state_ = State::kGenerating;
  auto segments = std::make_shared<std::vector<PromptSegment>>();
  for (const auto& segment : prompt_.segments) {
    if (const auto* slot = std::get_if<ImageSlot>(&segment)) {
      const ImageDelivery& image = *images_[slot->image_index];
      segments->push_back(PromptImage{image.key(), image.layout()->num_embeddings});
    } else {
      segments->push_back(std::get<Prompt::TokenIds>(segment));
    }
  }
  generation_->Start(std::move(segments), model_id_);
}

void ChatSession::OnAccepted(const ChatAccepted& accepted) {
  accepted_at_ = Clock::now();
  end_.prompt_tokens = accepted.prompt_tokens;
  end_.cached_tokens = accepted.cached_tokens;
  sink_(accepted);
}

void ChatSession::OnSlotNeeded(int slot, EncodeTarget target) {
  if (slot < 0 || slot >= static_cast<int>(images_.size())) {
    return Finish(absl::InternalError(
        Cat("the language service asks for slot ", slot, " of ", images_.size())));
  }
  images_[slot]->Need(std::move(target));
}

void ChatSession::OnPrefill(const GeneratePrefill& prefill) {
  progress_.prefilled_tokens = prefill.done_tokens;
  progress_.prompt_tokens = prefill.prompt_tokens;
  EmitProgress();
}

void ChatSession::OnFirstToken() {
  const Clock::time_point now = Clock::now();
  end_.first_token_ms = MsBetween(start_, now);
  end_.prefill_ms = MsBetween(accepted_at_, now);
  span_.AddEvent("first_token", now);
  if (backend_.observer != nullptr) backend_.observer->OnFirstToken(end_.first_token_ms / 1000);
  for (const auto& image : images_) image->OnFirstToken(/*all_arrived=*/task_.num_samples == 1);
}

void ChatSession::OnImageRetry(const absl::Status& status) {
  ++end_.num_vision_retries;
  if (backend_.observer != nullptr) backend_.observer->OnRetry("vision", status);
}

void ChatSession::OnGenerationRetry(const absl::Status& status, bool resumes) {
  ++end_.num_language_retries;
  if (backend_.observer == nullptr) return;
  backend_.observer->OnRetry("language", status);
  if (resumes) backend_.observer->OnResumed();
}

ChatStage ChatSession::Stage() const {
  if (end_.first_token_ms > 0) return ChatStage::kDecode;
  if (state_ == State::kEntering) return ChatStage::kWaiting;
  return state_ == State::kGenerating ? ChatStage::kPrefill : ChatStage::kEncoding;
}

void ChatSession::OnOutput(int sample, Answer::Output output) {
  if (backend_.observer != nullptr) {
    const Clock::time_point now = Clock::now();
    last_output_.resize(static_cast<size_t>(task_.num_samples));
    Clock::time_point& last = last_output_[static_cast<size_t>(sample)];
    if (last != Clock::time_point()) {
      backend_.observer->OnTokenGap(MsBetween(last, now) / 1000);
    }
    last = now;
  }
  if (!output.text.empty() || !output.tokens.empty()) {
    sink_(TextDelta{sample, std::move(output.text), std::move(output.tokens)});
  }
  for (BoxGroup& group : output.boxes) {
    BoxesFound found;
    found.sample = sample;
    found.label = std::move(group.label);
    found.boxes = std::move(group.boxes);
    if (boxes_image_ >= 0) {
      const ImageLayout& layout = *images_[boxes_image_]->layout();
      found.image_index = boxes_image_;
      found.image_width = layout.width;
      found.image_height = layout.height;
    }
    sink_(std::move(found));
  }
}

// Slots of the lost sequence; the next one asks for its own.
void ChatSession::OnSequenceLost() {
  for (const auto& image : images_) image->ForgetNeed();
}

void ChatSession::EmitProgress() {
  progress_.encoded_tiles = progress_.num_tiles = 0;
  for (const auto& image : images_) {
    progress_.encoded_tiles += image->progress().encoded_tiles;
    progress_.num_tiles += image->progress().num_tiles;
  }
  sink_(progress_);
}

void ChatSession::CountImages() {
  end_.num_images = static_cast<int>(task_.images.size());
  std::set<std::string> replicas;
  for (const auto& image : images_) {
    end_.encode_ms = std::max(end_.encode_ms, image->encode_ms());
    end_.num_reused_tiles += image->progress().reused_tiles;
    if (!image->replica().empty()) replicas.insert(image->replica());
    if (!image->layout()) continue;
    end_.num_tiles += 1 + int64_t{image->layout()->tiles_wide} * image->layout()->tiles_high;
  }
  for (const std::string& replica : replicas) {
    end_.vision_replicas += (end_.vision_replicas.empty() ? "" : ",") + replica;
  }
}

void ChatSession::ReleaseUpstreams() {
  for (const auto& image : images_) image->Cancel();
  if (generation_ != nullptr) generation_->Cancel();
  SetWaiting(false);
  if (deadline_timer_) backend_.timers->Cancel(*deadline_timer_);
  deadline_timer_.reset();
}

void ChatSession::Finish(absl::Status status) {
  if (state_ == State::kEnded) return;
  const ChatStage stage = Stage();
  state_ = State::kEnded;
  CountImages();
  if (generation_ != nullptr) {
    end_.generated_tokens = generation_->num_generated_tokens();
    end_.language_replica = generation_->replica();
  }
  ReleaseUpstreams();
  end_.status = std::move(status);
  end_.total_ms = MsBetween(start_, Clock::now());
  if (backend_.observer != nullptr) {
    backend_.observer->OnEnd(end_.status, stage, end_.prompt_tokens, end_.generated_tokens);
  }
  EndSpan();
  const ChatSink sink = std::move(sink_);
  sink_ = nullptr;
  sink(end_);
}

}  // namespace vl2::gateway
