#include "lm_service/service/generate_call.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lm_service/service/generate_spans.h"
#include "lm_service/service/wire.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/rpc/call_span.h"
#include "runtime/rpc/grpc_status.h"
#include "runtime/rpc/metric_codes.h"

namespace vl2 {
namespace {

double Rounded(double ms) { return std::round(ms * 1000) / 1000; }

}  // namespace

GenerateCall* GenerateCall::Start(LanguageServiceState& state, grpc::CallbackServerContext& context,
                                  const v1::GenerateRequest& request) {
  std::shared_ptr<GenerateCall> call(new GenerateCall(state, context));
  call->self_ = call;
  {
    MutexLock lock(&call->mutex_);
    call->span_ = BeginServerSpan(state.tracer, context, {"vl2.v1.LanguageService", "Generate"});
    if (call->span_.recording()) call->timeline_ = std::make_shared<SequenceTimeline>();
  }
  if (request.request_id().size() <= kMaxRequestIdBytes) call->request_id_ = request.request_id();
  if (const absl::Status status = call->Submit(context, request); !status.ok()) {
    state.metrics.OnCallEnd(status, {});
    MutexLock lock(&call->mutex_);
    call->End(status);
  }
  return call.get();
}

absl::Status GenerateCall::Submit(const grpc::CallbackServerContext& context,
                                  const v1::GenerateRequest& wire) {
  if (const CallerRule* const callers = state_.options.generate_callers; callers != nullptr) {
    VL2_RETURN_IF_ERROR(callers->Check(context));
  }
  VL2_RETURN_IF_ERROR(state_.gate.Enter());
  entered_ = true;
  if (const std::string& id = state_.info.model_id();
      !wire.model_id().empty() && wire.model_id() != id) {
    return absl::FailedPreconditionError(
        Cat("model_id is ", wire.model_id(), ", this service runs ", id));
  }
  VL2_ASSIGN_OR_RETURN(GenerateRequest request, FromWire(wire));
  request.deadline = ToSteady(context.deadline());
  request.timeline = timeline_;
  submitted_at_ = std::chrono::steady_clock::now();
  tokens_ = UploadTickets::MakeTokens(NumSlots(request));
  VL2_ASSIGN_OR_RETURN(const Submitted submitted,
                       state_.engine.Submit(std::move(request), shared_from_this()));

  v1::GenerateEvent event;
  v1::Accepted& accepted = *event.mutable_accepted();
  accepted.set_sequence_id(submitted.id);
  accepted.set_prompt_tokens(submitted.prompt_tokens);
  accepted.set_cached_tokens(submitted.cached_tokens);
  accepted.set_address(state_.Address());
  accepted.set_model_id(state_.info.model_id());
  MutexLock lock(&mutex_);
  sequence_ = submitted.id;
  if (!sequence_ended_) {
    stats_.prompt_tokens = submitted.prompt_tokens;
    stats_.cached_tokens = submitted.cached_tokens;
  }
  // The engine may have said something already, even its last word.
  if (!sequence_ended_) state_.tickets.Add(submitted.id, tokens_);
  waiting_.push_front(std::move(event));
  ++num_waiting_;
  accepted_ = true;
  if (cancelled_) CancelSequence();
  Pump();
  return absl::OkStatus();
}

void GenerateCall::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  is_writing_ = false;
  if (!ok) {
    // The client is gone.
    waiting_.clear();
    CancelSequence();
    End(absl::CancelledError("the client is gone"));
  }
  Pump();
}

void GenerateCall::OnCancel() {
  MutexLock lock(&mutex_);
  CancelSequence();
  waiting_.clear();
  End(absl::CancelledError("cancelled by the caller, or its deadline has passed"));
}

void GenerateCall::OnDone() {
  {
    MutexLock lock(&mutex_);
    Report();
  }
  if (entered_) state_.gate.Leave();
  self_.reset();
}

void GenerateCall::OnSlotNeeded(int slot, int64_t first_embedding) {
  v1::GenerateEvent event;
  v1::SlotNeeded& needed = *event.mutable_slot_needed();
  needed.set_slot(slot);
  needed.set_first_embedding(first_embedding);
  needed.set_upload_token(tokens_[static_cast<size_t>(slot)]);
  Append(std::move(event));
}

void GenerateCall::OnPrefill(int64_t done_tokens, int64_t prompt_tokens) {
  v1::GenerateEvent event;
  event.mutable_prefill()->set_done_tokens(done_tokens);
  event.mutable_prefill()->set_prompt_tokens(prompt_tokens);
  MutexLock lock(&mutex_);
  // Only the latest progress is news.
  if (!waiting_.empty() && waiting_.back().has_prefill()) {
    waiting_.back() = std::move(event);
    return;
  }
  if (end_.has_value()) return;
  waiting_.push_back(std::move(event));
  ++num_waiting_;
  CheckBound();
  Pump();
}

void GenerateCall::OnToken(int sample, const SampledToken& token) {
  MutexLock lock(&mutex_);
  ++num_tokens_;
  if (end_.has_value()) return;
  const bool joins = !waiting_.empty() && waiting_.back().has_tokens() &&
                     waiting_.back().tokens().sample() == sample;
  if (!joins) waiting_.emplace_back().mutable_tokens()->set_sample(sample);
  *waiting_.back().mutable_tokens()->add_tokens() = ToWire(token);
  ++num_waiting_;
  CheckBound();
  Pump();
}

void GenerateCall::OnSampleFinished(int sample, FinishReason reason) {
  v1::GenerateEvent event;
  event.mutable_sample_finished()->set_sample(sample);
  event.mutable_sample_finished()->set_reason(ToWire(reason));
  Append(std::move(event));
}

void GenerateCall::OnFinished(const absl::Status& status, const GenerateStats& stats) {
  state_.metrics.OnCallEnd(status, stats);
  MutexLock lock(&mutex_);
  sequence_ended_ = true;
  sequence_end_ = std::chrono::steady_clock::now();
  stats_ = stats;
  if (sequence_ != 0) state_.tickets.Remove(sequence_);
  if (end_.has_value()) return;
  if (status.ok()) {
    *waiting_.emplace_back().mutable_finished() = ToWire(stats);
    ++num_waiting_;
  }
  End(status);
}

void GenerateCall::Append(v1::GenerateEvent event) {
  MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  waiting_.push_back(std::move(event));
  ++num_waiting_;
  CheckBound();
  Pump();
}

void GenerateCall::CheckBound() {
  const int64_t limit = state_.options.max_waiting_events;
  if (num_waiting_ <= limit) return;
  waiting_.clear();
  CancelSequence();
  End(absl::ResourceExhaustedError(
      Cat("the client reads too slowly: ", num_waiting_, " events wait, the limit is ", limit)));
}

void GenerateCall::End(const absl::Status& status) {
  if (!end_.has_value()) end_ = status;
  Pump();
}

void GenerateCall::CancelSequence() {
  cancelled_ = true;
  if (sequence_ != 0) state_.engine.Cancel(sequence_);
}

void GenerateCall::Pump() {
  if (is_writing_ || finished_) return;
  if (!waiting_.empty()) {
    if (!accepted_) return;
    writing_ = std::move(waiting_.front());
    waiting_.pop_front();
    num_waiting_ -= writing_.has_tokens() ? writing_.tokens().tokens_size() : 1;
    is_writing_ = true;
    StartWrite(&writing_);
    return;
  }
  if (!end_.has_value()) return;
  finished_ = true;
  finished_at_ = std::chrono::steady_clock::now();
  state_.gate.AddState(context_);
  Finish(StatusToGrpc(*end_));
}

void GenerateCall::Report() {
  const absl::Status status = end_.value_or(absl::CancelledError());
  if (!finished_) finished_at_ = std::chrono::steady_clock::now();
  const double ms = std::chrono::duration<double, std::milli>(finished_at_ - begin_).count();
  const TraceContext& trace = span_.context();
  Log(Severity::kInfo, "generate",
      {{"request", request_id_},
       {"trace", trace.valid() ? ToHex(trace.trace_id) : "-"},
       {"code", CodeLabel(status.code())},
       {"ms", Rounded(ms)},
       {"prompt_tokens", stats_.prompt_tokens},
       {"cached_tokens", stats_.cached_tokens},
       {"completion_tokens", num_tokens_},
       {"images", tokens_.size()},
       {"queue_ms", Rounded(stats_.queue_ms)},
       {"prefill_ms", Rounded(stats_.prefill_ms)},
       {"decode_ms", Rounded(stats_.decode_ms)},
       {"preemptions", stats_.num_preemptions}});
  if (span_.recording()) AddSpans();
  EndRpcSpan(status, span_, finished_at_);
}

void GenerateCall::AddSpans() {
  span_.Set("vl2.request_id", request_id_);
  span_.Set("vl2.prompt_tokens", stats_.prompt_tokens);
  span_.Set("vl2.cached_tokens", stats_.cached_tokens);
  span_.Set("vl2.preemptions", stats_.num_preemptions);
  if (sequence_ == 0) return;
  // A call that was given up ends before its sequence.
  const auto ended = sequence_ended_ ? std::min(sequence_end_, finished_at_) : finished_at_;
  AddSequenceSpans(*timeline_, {submitted_at_, ended, num_tokens_}, span_);
}

}  // namespace vl2
