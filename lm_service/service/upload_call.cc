#include "lm_service/service/upload_call.h"

#include <utility>
#include <vector>

#include "lm_service/service/wire.h"
#include "runtime/base/status.h"
#include "runtime/rpc/call_span.h"
#include "runtime/rpc/grpc_status.h"

namespace vl2 {
namespace {

constexpr std::chrono::milliseconds kRetryPause{5};

}  // namespace

UploadCall* UploadCall::Start(LanguageServiceState& state, grpc::CallbackServerContext& context,
                              v1::UploadSummary& summary) {
  auto* const call = new UploadCall(state, summary);
  call->span_ =
      BeginServerSpan(state.tracer, context, {"vl2.v1.LanguageService", "UploadEmbeddings"});
  const CallerRule* const callers = state.options.upload_callers;
  const absl::Status allowed = callers == nullptr ? absl::OkStatus() : callers->Check(context);
  if (allowed.ok()) {
    call->StartRead(&call->request_);
  } else {
    call->End(allowed);
  }
  return call;
}

void UploadCall::OnReadDone(bool ok) {
  if (!ok) {
    // The caller has said all, or is gone; then nobody reads the status.
    End(has_header_ ? absl::OkStatus() : InvalidArgument("the stream ended before its header"));
    return;
  }
  if (!has_header_) {
    if (const absl::Status status = TakeHeader(); !status.ok()) {
      End(status);
      return;
    }
    StartRead(&request_);
    return;
  }
  give_up_ = std::chrono::steady_clock::now() +
             std::chrono::milliseconds(state_.options.upload_retry_timeout_ms);
  HandOver();
}

absl::Status UploadCall::TakeHeader() {
  if (!request_.has_header()) return InvalidArgument("the first message is no header");
  header_ = request_.header();
  has_header_ = true;
  return CheckUploadHeader(header_, state_.info.model_id(), state_.tickets);
}

absl::Status UploadCall::TakeChunk() {
  if (!request_.has_chunk()) return InvalidArgument("a message after the header is no chunk");
  const v1::UploadChunk& chunk = request_.chunk();
  VL2_ASSIGN_OR_RETURN(std::vector<float> rows,
                       FromWire(chunk, header_.dtype(), state_.info.hidden_size()));
  VL2_RETURN_IF_ERROR(state_.engine.AddEmbeddings(header_.sequence_id(), header_.slot(),
                                                  chunk.first_embedding(), std::move(rows)));
  state_.metrics.OnUpload(static_cast<int64_t>(chunk.data().size()));
  summary_.set_num_embeddings(summary_.num_embeddings() + chunk.num_embeddings());
  return absl::OkStatus();
}

void UploadCall::HandOver() {
  const absl::Status status = TakeChunk();
  if (status.ok()) {
    StartRead(&request_);
  } else if (absl::IsResourceExhausted(status) && std::chrono::steady_clock::now() < give_up_) {
    // The engine takes what waits before its next step.
    alarm_.Set(std::chrono::system_clock::now() + kRetryPause, [this](bool) { HandOver(); });
  } else {
    End(status);
  }
}

void UploadCall::End(const absl::Status& status) {
  state_.metrics.OnUploadEnd(status);
  if (has_header_) span_.Set("vl2.slot", header_.slot());
  span_.Set("vl2.embeddings", summary_.num_embeddings());
  EndRpcSpan(status, span_);
  Finish(StatusToGrpc(status));
}

}  // namespace vl2
