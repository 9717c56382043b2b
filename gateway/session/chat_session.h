// ChatSession: one request from its messages to the end of its answers.
//
//   pictures to vision -> layouts -> prompt counted -> content keys -> Generate
//   -> embeddings delivered where the language service needs them -> tokens -> text and boxes
//
// A language replica that is lost is replaced: with one sample the next replica is given the
// tokens so far, with several they are drawn again (same seeds) and left out. A vision replica that
// is lost is replaced by sending the picture again. The client's stream goes on.
//
// Owns: the task with its pictures' bytes, all upstream streams. Borrows the backend.
// Threading: thread-safe; state is touched only by work in the mailbox. The last reference going
// away ends everything without further events.
// Errors: in ChatEnd. INVALID_ARGUMENT before anything is encoded when the prompt does not fit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/session/answer.h"
#include "gateway/session/chat_task.h"
#include "gateway/session/mailbox.h"
#include "gateway/session/timer_queue.h"
#include "gateway/session/upstream.h"
#include "text/prompt.h"

namespace vl2::gateway {

// What all sessions share; outlives them.
struct ChatBackend {
  const Tokenizer* tokenizer = nullptr;
  VisionUpstream* vision = nullptr;
  LanguageUpstream* language = nullptr;
  TimerQueue* timers = nullptr;
  // Says why no request can be served now, such as services that run different models.
  std::function<absl::Status()> admit = [] { return absl::OkStatus(); };
  // Encoding starts once the prompt has been counted, before the language service asks for it.
  bool prepare = true;
};

class ChatSession : public std::enable_shared_from_this<ChatSession> {
 public:
  // Losses of replicas that one request survives, before and after its first token.
  static constexpr int kMaxEarlyFailures = 4;
  static constexpr int kMaxLateFailures = 10;

  static std::shared_ptr<ChatSession> Start(const ChatBackend& backend, ChatTask task,
                                            ChatSink sink);
  ~ChatSession();

  // Ends upstream work. ChatEnd with CANCELLED follows unless it came already.
  void Cancel();

 private:
  struct Picture {
    int attempt = 0;  // events of earlier attempts are ignored
    int failures = 0;
    int undelivered = 0;  // deliveries in a row that did not reach the language service
    std::shared_ptr<ImageStream> stream;
    std::vector<std::string> avoid;
    std::optional<ImageLayout> layout;
    std::string key;
    // What the language service waits for, until it is delivered.
    std::optional<GenerateSlotNeeded> need;
    uint64_t delivery_id = 0;
    ImageProgress progress;
    double encode_ms = 0;
  };

  ChatSession(const ChatBackend& backend, ChatTask task, ChatSink sink);

  // All below run in the mailbox.
  void Begin();
  absl::Status Prepare();
  absl::Status CheckFits(int64_t prompt_tokens) const;
  void EmitProgress();
  void Finish(absl::Status status);
  void ReleaseUpstreams();
  void Later(int failures, void (ChatSession::*call)(int), int argument);

  // Pictures.
  void OpenPicture(int index);
  void ReopenPicture(int index);
  void OnImage(int index, int attempt, ImageEvent event);
  void OnLayout(int index, const ImageLayout& layout);
  void OnKey(int index, const ImageKey& key);
  void OnDelivered(int index, const ImageDelivered& delivered);
  void OnImageClosed(int index, const absl::Status& status);
  void PictureFailed(int index, const absl::Status& status);
  void Deliver(int index);

  // Generation.
  void StartGenerating();
  void Regenerate(int attempt);
  void OnGenerate(int attempt, GenerateEvent event);
  void OnAccepted(const GenerateAccepted& accepted);
  void OnSlotNeeded(const GenerateSlotNeeded& needed);
  void OnTokens(GenerateTokens tokens);
  void OnFirstToken();
  void OnSampleEnd(const GenerateSampleEnd& end);
  void OnGenerateClosed(const absl::Status& status);
  void GenerateFailed(const absl::Status& status);
  bool FinishIfComplete();
  void Emit(int sample, Answer::Output output);
  void EndSample(int sample);
  GenerateCall MakeCall() const;

  const ChatBackend backend_;
  const ChatTask task_;
  const Clock::time_point start_ = Clock::now();
  Mailbox mailbox_;

  ChatSink sink_;
  bool done_ = false;
  std::optional<TimerQueue::Key> deadline_timer_;

  Prompt prompt_;
  std::vector<Picture> pictures_;
  int boxes_image_ = -1;  // the picture that boxes refer to
  bool counted_ = false;  // all layouts are known and the prompt fits
  uint64_t next_delivery_ = 1;

  std::shared_ptr<const std::vector<PromptSegment>> segments_;
  std::shared_ptr<GenerateStream> generate_;
  int generate_attempt_ = 0;
  int generate_failures_ = 0;
  std::vector<std::string> generate_avoid_;
  GenerateAccepted accepted_;
  bool ever_accepted_ = false;
  ChatProgress progress_;
  std::vector<Answer> answers_;
  std::vector<size_t> replayed_;  // tokens still to be left out after a restart, by sample
  Clock::time_point accepted_at_{};
  std::optional<Clock::time_point> first_token_at_;
  ChatEnd end_;
};

}  // namespace vl2::gateway
