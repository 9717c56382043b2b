// GenerateCall: one Generate call: the engine's events on one side, the client's stream on the
// other, a bounded queue between them.
//
// The engine thread only appends and, when the stream is idle, starts the next write; it never
// waits. Tokens that wait are joined into one message. When more than max_waiting_events wait, the
// call ends with RESOURCE_EXHAUSTED and its sequence is cancelled.
//
// Owns: itself, from Start to OnDone; the engine shares it until the sequence has ended.
// Threading: gRPC's and the engine's threads; mutex_ guards the rest.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grpcpp/support/server_callback.h"
#include "lm_service/scheduler/request.h"
#include "lm_service/service/language_service.h"
#include "runtime/base/mutex.h"
#include "runtime/trace/span.h"
#include "vl2/v1/language.pb.h"

namespace vl2 {

class GenerateCall : public grpc::ServerWriteReactor<v1::GenerateEvent>,
                     public GenerateSink,
                     public std::enable_shared_from_this<GenerateCall> {
 public:
  // Submits to the engine. The reactor for gRPC; errors finish it.
  static GenerateCall* Start(LanguageServiceState& state, grpc::CallbackServerContext& context,
                             const v1::GenerateRequest& request);

  // From gRPC.
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // From the engine.
  void OnSlotNeeded(int slot, int64_t first_embedding) override;
  void OnPrefill(int64_t done_tokens, int64_t prompt_tokens) override;
  void OnToken(int sample, const SampledToken& token) override;
  void OnSampleFinished(int sample, FinishReason reason) override;
  void OnFinished(const absl::Status& status, const GenerateStats& stats) override;

 private:
  GenerateCall(LanguageServiceState& state, grpc::CallbackServerContext& context)
      : state_(state), context_(context) {}
  absl::Status Submit(const grpc::CallbackServerContext& context,
                      const v1::GenerateRequest& request);
  void Append(v1::GenerateEvent event);
  void CheckBound() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Starts the next write, or finishes the stream.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CancelSequence() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The call's line in the log and its spans, once it is over.
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddSpans() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  LanguageServiceState& state_;
  grpc::CallbackServerContext& context_;  // until OnDone
  bool entered_ = false;                  // the service's gate; set once, before anything else
  std::shared_ptr<GenerateCall> self_;    // until OnDone
  std::vector<std::string> tokens_;       // upload tokens, one a slot
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point submitted_at_;  // as request_id_
  std::string request_id_;                      // set once, before the engine hears of the call
  std::shared_ptr<SequenceTimeline> timeline_;  // as request_id_; null: not traced

  Mutex mutex_;
  std::deque<v1::GenerateEvent> waiting_ ABSL_GUARDED_BY(mutex_);
  int64_t num_waiting_ ABSL_GUARDED_BY(mutex_) = 0;    // each token counts
  v1::GenerateEvent writing_ ABSL_GUARDED_BY(mutex_);  // while is_writing_
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool accepted_ ABSL_GUARDED_BY(mutex_) = false;            // Accepted is in the queue
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;           // by the client, or by End
  bool sequence_ended_ ABSL_GUARDED_BY(mutex_) = false;      // the engine has said its last
  uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;            // 0: not submitted
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);  // how the call ends
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;            // Finish was called
  std::chrono::steady_clock::time_point finished_at_ ABSL_GUARDED_BY(mutex_);
  // Of what the engine has said, for the report.
  int64_t num_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  GenerateStats stats_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point sequence_end_ ABSL_GUARDED_BY(mutex_);
  Span span_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2
