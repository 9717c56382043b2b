// Generation: the answers of one request, whichever language replicas compute them.
//
//   Waiting ── Start ──► Calling ──► Prefilling ──► Answering ──► Ended
//                           ▲            │              │
//                           └── Lost ◄───┴──────────────┘   (pause, then the next replica)
//
// A language replica that is lost is replaced: with one sample the next replica is given the
// tokens so far, with several they are drawn again (same seeds) and left out. Once the answer has
// begun, the next replica is one that computes the same bits.
//
// Owns: the answers, the stream. Borrows task, tokenizer, upstream and sink. Threading: runs in the
// session's thread; the sink is called there, also from inside these methods.
// Errors: to the sink, as the client shall see them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gateway/session/answer.h"
#include "gateway/session/chat_task.h"
#include "gateway/session/retry_policy.h"
#include "gateway/session/session_thread.h"
#include "gateway/session/upstream.h"

namespace vl2::gateway {

class Generation {
 public:
  enum class State {
    kWaiting,     // not started
    kCalling,     // a replica was asked and has not accepted yet
    kPrefilling,  // accepted, no token yet
    kAnswering,   // tokens come
    kLost,        // the replica is lost, the next call is due after a pause
    kEnded,       // all has been said
  };

  class Sink {
   public:
    virtual ~Sink() = default;
    // Of the first replica that accepts, and only of that one.
    virtual void OnAccepted(const ChatAccepted& accepted) = 0;
    // The sequence lacks embeddings of the image in `slot`; `target` without a delivery id.
    virtual void OnSlotNeeded(int slot, EncodeTarget target) = 0;
    virtual void OnPrefill(const GeneratePrefill& prefill) = 0;
    virtual void OnFirstToken() = 0;
    virtual void OnOutput(int sample, Answer::Output output) = 0;
    virtual void OnSampleEnd(const SampleEnd& end) = 0;
    // The sequence is gone, and with it what it needed. Another one follows.
    virtual void OnSequenceLost() = 0;
    // It is computed again, after `status`; `resumes` when its answer had begun.
    virtual void OnGenerationRetry(const absl::Status& status, bool resumes) {}
    // Last: OK after every sample has ended.
    virtual void OnGenerationEnd(absl::Status status) = 0;
  };

  // One answer per sample of `task`.
  Generation(const ChatTask* task, int32_t image_token_id, std::vector<Answer> answers,
             LanguageUpstream* language, std::shared_ptr<SessionThread> thread, Sink* sink,
             TracePoint trace = {});
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // `model_id` names the pool of replicas; empty: any. REQUIRES: kWaiting.
  void Start(std::shared_ptr<const std::vector<PromptSegment>> segments, std::string model_id = "");
  // Gives the current replica up, as if it had failed with `status`.
  void Replace(const absl::Status& status);
  void Cancel();

  State state() const { return state_; }
  int64_t num_generated_tokens() const { return num_generated_tokens_; }
  // The last that was asked; empty: none yet.
  const std::string& replica() const { return replica_; }

 private:
  void Call();
  GenerateCall MakeCall() const;
  uint64_t Affinity() const;
  bool EndIfComplete();
  void On(const GenerateAccepted& accepted);
  void On(const GenerateSlotNeeded& needed);
  void On(const GeneratePrefill& prefill) { sink_->OnPrefill(prefill); }
  void On(GenerateTokens tokens);
  void On(const GenerateSampleEnd& end);
  void On(const GenerateClosed& closed);
  void OnToken();
  // False, after an error, when the service names a sample that was not asked for.
  bool CheckSample(int sample, const char* what);
  void EndSample(int sample);
  void Fail(const absl::Status& status);
  void End(absl::Status status);

  const ChatTask& task_;
  const int32_t image_token_id_;
  LanguageUpstream* const language_;
  const std::shared_ptr<SessionThread> thread_;
  Sink* const sink_;
  const TracePoint trace_;  // calls' spans begin below it

  State state_ = State::kWaiting;
  RetryPolicy retry_{RetryPolicy::LateFull::kFinal};
  int attempt_ = 0;  // events of earlier attempts are ignored
  std::shared_ptr<const std::vector<PromptSegment>> segments_;
  std::string model_id_;
  std::string pool_;  // where the answer has begun; empty: it has not
  std::shared_ptr<GenerateStream> stream_;
  std::vector<std::string> avoid_;
  std::string replica_;
  TraceContext lost_;                           // the last call that was lost
  GenerateAccepted accepted_;                   // of the current attempt
  std::optional<ChatAccepted> first_accepted_;  // what the client was told
  std::vector<Answer> answers_;
  std::vector<size_t> num_replayed_;  // tokens still to be left out after a restart, by sample
  int64_t num_generated_tokens_ = 0;
};

}  // namespace vl2::gateway
