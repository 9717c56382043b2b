// ChatSession: one request from its messages to the end of its answers.
//
//   images to vision -> layouts -> prompt counted -> content keys -> Generate
//   -> embeddings delivered where the language service needs them -> tokens -> text and boxes
//
// It begins, joins the layouts of all images, counts, and ends; ImageDelivery (one an image) and
// Generation do the rest, survive lost replicas and report here. The client's stream goes on
// meanwhile.
//
// Owns: the task with its images' bytes, all upstream streams. Borrows the backend.
// Threading: thread-safe; state is touched only by work in the mailbox. The last reference going
// away ends everything without further events.
// Errors: in ChatEnd. INVALID_ARGUMENT before anything is encoded when the prompt does not fit.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/session/chat_task.h"
#include "gateway/session/generation.h"
#include "gateway/session/image_delivery.h"
#include "gateway/session/mailbox.h"
#include "gateway/session/retry_policy.h"
#include "gateway/session/session_observer.h"
#include "gateway/session/timer_queue.h"
#include "gateway/session/upstream.h"
#include "runtime/trace/span.h"
#include "runtime/trace/tracer.h"
#include "text/prompt.h"

namespace vl2::gateway {

// What all sessions share; outlives them.
struct ChatBackend {
  const Tokenizer* tokenizer = nullptr;
  VisionUpstream* vision = nullptr;
  LanguageUpstream* language = nullptr;
  TimerQueue* timers = nullptr;
  // The model id of the pool of replicas that a request goes to; empty: any replica. Says why no
  // request can be served now; one that meets UNAVAILABLE asks again until `replica_wait` is over.
  std::function<absl::StatusOr<std::string>(bool with_images)> admit = [](bool) {
    return std::string();
  };
  std::chrono::milliseconds replica_wait{0};
  std::atomic<int64_t>* num_waiting = nullptr;  // counts those; may be null
  SessionObserver* observer = nullptr;          // may be null
  const Tracer* tracer = nullptr;               // may be null
  std::string model_name = {};                  // as spans call it
  // Encoding starts once the prompt has been counted, before the language service asks for it.
  bool prepare = true;
};

class ChatSession : public std::enable_shared_from_this<ChatSession>,
                    private ImageDelivery::Sink,
                    private Generation::Sink {
 public:
  // Losses of replicas that one request survives, before and after its first token.
  static constexpr int kMaxEarlyFailures = RetryPolicy::kMaxEarlyFailures;
  static constexpr int kMaxLateFailures = RetryPolicy::kMaxLateFailures;
  // A request whose pool goes away before its first token begins again in another one, so often.
  static constexpr int kMaxRestarts = 2;

  static std::shared_ptr<ChatSession> Start(const ChatBackend& backend, ChatTask task,
                                            ChatSink sink);
  ~ChatSession() override;

  // Ends upstream work. ChatEnd with CANCELLED follows unless it came already.
  void Cancel();

 private:
  enum class State {
    kEntering,    // a pool of replicas is awaited
    kCounting,    // layouts are awaited
    kKeying,      // the prompt fits; content keys are awaited
    kGenerating,  // the language service has been asked
    kEnded,       // ChatEnd has been said
  };
  class Thread;

  ChatSession(const ChatBackend& backend, ChatTask task, ChatSink sink);

  // All below run in the mailbox.
  void Begin();
  // Begins in the pool that serves now, or waits for one.
  void Enter();
  void SetWaiting(bool waiting);
  absl::Status Prepare();
  // Whether the request begins again in another pool, after `status`.
  bool Restart(const absl::Status& status);
  void FinishOrRestart(absl::Status status) {
    if (!Restart(status)) Finish(std::move(status));
  }
  absl::Status Render();
  void MakeDeliveries();
  // `how_many` is "at least " while not all images have been counted.
  absl::Status CheckFits(int64_t prompt_tokens, const char* how_many) const;
  void Generate();
  void EmitProgress();
  void Finish(absl::Status status);
  void ReleaseUpstreams();
  ChatStage Stage() const;
  void BeginSpan();
  void EndSpan();
  // What the end says of images and replicas.
  void CountImages();

  // ImageDelivery::Sink.
  void OnLayout() override;
  void OnKey() override;
  void OnImageProgress() override { EmitProgress(); }
  void OnImageRetry(const absl::Status& status) override;
  void OnUndeliverable(const absl::Status& status) override { generation_->Replace(status); }
  void OnImageFailed(absl::Status status) override { FinishOrRestart(std::move(status)); }

  // Generation::Sink.
  void OnAccepted(const ChatAccepted& accepted) override;
  void OnSlotNeeded(int slot, EncodeTarget target) override;
  void OnPrefill(const GeneratePrefill& prefill) override;
  void OnFirstToken() override;
  void OnOutput(int sample, Answer::Output output) override;
  void OnSampleEnd(const SampleEnd& end) override { sink_(end); }
  void OnSequenceLost() override;
  void OnGenerationRetry(const absl::Status& status, bool resumes) override;
  void OnGenerationEnd(absl::Status status) override { FinishOrRestart(std::move(status)); }

  const ChatBackend backend_;
  const ChatTask task_;
  const Clock::time_point start_ = Clock::now();
  Mailbox mailbox_;

  ChatSink sink_;
  State state_ = State::kEntering;
  std::shared_ptr<SessionThread> thread_;
  bool waiting_ = false;  // counted in num_waiting
  std::string model_id_;  // of the pool
  int num_restarts_ = 0;
  std::optional<TimerQueue::Key> deadline_timer_;

  Prompt prompt_;
  std::vector<std::unique_ptr<ImageDelivery>> images_;
  int boxes_image_ = -1;  // the image that boxes refer to
  std::unique_ptr<Generation> generation_;
  // Of pools that went away; events for them may still be on their way.
  std::vector<std::unique_ptr<ImageDelivery>> retired_images_;
  std::vector<std::unique_ptr<Generation>> retired_generations_;
  ChatProgress progress_;
  Clock::time_point accepted_at_{};
  std::vector<Clock::time_point> last_output_;  // by sample; the epoch: none yet
  ChatEnd end_;
  Span span_;  // "chat MODEL"
};

}  // namespace vl2::gateway
