#include "vision_service/service/encode_call.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/rpc/call_span.h"
#include "runtime/rpc/grpc_status.h"
#include "runtime/rpc/metric_codes.h"
#include "vision_service/engine/content_key.h"
#include "vision_service/service/encode_spans.h"
#include "vision_service/service/wire.h"

namespace vl2 {
namespace {

using Clock = std::chrono::steady_clock;

double Rounded(double ms) { return std::round(ms * 1000) / 1000; }

absl::Status OutOfOrder(const char* what) {
  return absl::FailedPreconditionError(Cat("messages out of order: ", what));
}

// What embeddings are computed with. The same model with rounded weights gives others; as stored,
// the model's id says it all.
std::string ModelAndWeights(const v1::ModelInfo& info) {
  const bool rounded = info.weight_dtype() == "int8" || info.weight_dtype() == "int4";
  return rounded ? Cat(info.model_id(), "/", info.weight_dtype()) : info.model_id();
}

}  // namespace

EncodeCall* EncodeCall::Start(VisionServiceState& state, grpc::CallbackServerContext& context) {
  std::shared_ptr<EncodeCall> call(new EncodeCall(state, context));
  call->self_ = call;
  MutexLock lock(&call->mutex_);
  call->last_use_ = Clock::now();
  call->span_ = BeginServerSpan(state.tracer, context, {"vl2.v1.VisionService", "Encode"});
  const CallerRule* const callers = state.options.encode_callers;
  absl::Status open = callers == nullptr ? absl::OkStatus() : callers->Check(context);
  if (open.ok()) {
    open = state.gate.Enter();
    call->entered_ = open.ok();
  }
  const int64_t num_nameless = ++state.num_nameless_calls;
  if (!open.ok()) {
    call->End(open);
  } else if (num_nameless > state.options.max_nameless_calls) {
    call->End(absl::ResourceExhaustedError(Cat(num_nameless,
                                               " calls have not sent their header, the limit is ",
                                               state.options.max_nameless_calls)));
  } else {
    call->SetExpiry();
    call->StartRead(&call->request_);
  }
  return call.get();
}

void EncodeCall::OnReadDone(bool ok) {
  MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  last_use_ = Clock::now();
  if (!ok) {
    half_closed_ = true;
    if (stage_ != Stage::kStarts) End(OutOfOrder("the stream ended before end_of_image"));
    Pump();
    return;
  }
  if (const absl::Status status = Take(); !status.ok()) {
    End(status);
    return;
  }
  // The bytes must not grow while they are looked at.
  if (!reading_layout_) StartRead(&request_);
  Pump();
}

void EncodeCall::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  is_writing_ = false;
  last_use_ = Clock::now();
  if (!ok) End(absl::CancelledError("the caller is gone"));
  Pump();
}

void EncodeCall::OnCancel() {
  MutexLock lock(&mutex_);
  End(absl::CancelledError("cancelled by the caller, or its deadline has passed"));
}

void EncodeCall::OnDone() {
  expiry_.Cancel();
  {
    MutexLock lock(&mutex_);
    Report();
  }
  if (entered_) state_.gate.Leave();
  self_.reset();
}

absl::Status EncodeCall::Take() {
  switch (request_.message_case()) {
    case v1::EncodeRequest::kHeader:
      return stage_ == Stage::kHeader ? TakeHeader() : OutOfOrder("a second header");
    case v1::EncodeRequest::kChunk:
      return stage_ == Stage::kBytes ? TakeChunk() : OutOfOrder("a chunk outside of the file");
    case v1::EncodeRequest::kEndOfImage:
      return stage_ == Stage::kBytes ? TakeEnd() : OutOfOrder("end_of_image outside of the file");
    case v1::EncodeRequest::kStart:
      return stage_ == Stage::kStarts ? TakeStart() : OutOfOrder("a start before end_of_image");
    case v1::EncodeRequest::MESSAGE_NOT_SET:
      break;
  }
  return InvalidArgument("an empty message");
}

absl::Status EncodeCall::TakeHeader() {
  const v1::EncodeHeader& header = request_.header();
  VL2_RETURN_IF_ERROR(
      CheckHeader(header, static_cast<int64_t>(state_.engine.options().image_limits.max_bytes)));
  VL2_ASSIGN_OR_RETURN(job_.policy, FromWire(header.policy()));
  VL2_ASSIGN_OR_RETURN(job_.tiling, FromWire(header.tiling()));
  VL2_ASSIGN_OR_RETURN(image_, state_.engine.Hold(header.client_id()));
  job_.client_id = header.client_id();
  job_.priority = header.priority();
  request_id_ = header.request_id();
  total_bytes_ = header.total_bytes();
  stage_ = Stage::kBytes;
  --state_.num_nameless_calls;
  return absl::OkStatus();
}

absl::Status EncodeCall::TakeChunk() {
  if (request_.chunk().size() > kMaxChunkBytes) {
    return InvalidArgument("a chunk of ", request_.chunk().size(), " bytes, the limit is ",
                           kMaxChunkBytes);
  }
  VL2_RETURN_IF_ERROR(image_->Append(request_.chunk()));
  // Doubling: a header that lies far behind costs a few attempts, not one a chunk. What fails now
  // may be complete later; the end of the file decides.
  if (!has_layout_ && image_->bytes().size() >= next_layout_bytes_) {
    next_layout_bytes_ = 2 * image_->bytes().size();
    ReadLayoutAside(false);
  }
  return absl::OkStatus();
}

absl::Status EncodeCall::TakeEnd() {
  ReadLayoutAside(true);
  return absl::OkStatus();
}

void EncodeCall::ReadLayoutAside(bool complete) {
  reading_layout_ = true;
  state_.engine.RunAside(job_.client_id, [weak = weak_from_this(), complete] {
    if (const auto call = weak.lock()) call->ReadLayout(complete);
  });
}

void EncodeCall::ReadLayout(bool complete) {
  ImageBytes bytes;
  DecodePolicy policy;
  {
    MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    bytes = image_->shared_bytes();
    policy = job_.policy;
  }
  const auto info = state_.engine.preprocessor().decoder().ReadHeader(*bytes, policy);
  bytes.reset();
  MutexLock lock(&mutex_);
  reading_layout_ = false;
  if (end_.has_value()) return;
  last_use_ = Clock::now();
  absl::Status status = info.ok() ? TakeLayout(*info, complete) : info.status();
  if (complete && status.ok()) status = TakeKey();
  if (complete && !status.ok()) {
    End(status);
    return;
  }
  StartRead(&request_);
  Pump();
}

absl::Status EncodeCall::TakeLayout(const ImageInfo& info, bool complete) {
  // A caller that says how long the file is will soon have sent it.
  if (!complete && !info.size_is_final && total_bytes_ > 0) return absl::OkStatus();
  VL2_ASSIGN_OR_RETURN(
      const TilePlan plan,
      PlanTiles(info.size, state_.engine.preprocessor().config().geometry, job_.tiling));
  const bool changed = has_layout_ && plan.image != job_.plan.image;
  if (changed && layout_is_final_) {
    return InvalidArgument("the picture's header is not what it was at first: ", plan.image,
                           " pixels, not ", job_.plan.image);
  }
  job_.plan = plan;
  job_.decoded_bytes = info.decoded_bytes;
  layout_is_final_ = info.size_is_final;
  if (!std::exchange(has_layout_, true) || changed) {
    *waiting_.emplace_back().mutable_layout() = MakeLayout(info, plan);
  }
  return absl::OkStatus();
}

absl::Status EncodeCall::TakeKey() {
  job_.bytes = image_->shared_bytes();
  num_bytes_ = static_cast<int64_t>(job_.bytes->size());
  if (span_.recording()) job_.timeline = std::make_shared<EncodingTimeline>(job_.plan.num_tiles);
  job_.content_key =
      MakeContentKey(image_->Digest(), job_.policy, job_.plan, ModelAndWeights(state_.info));
  VL2_RETURN_IF_ERROR(image_->CountForRequest(request_id_, job_.content_key, job_.decoded_bytes));
  v1::ContentKey& key = *waiting_.emplace_back().mutable_content_key();
  key.set_key(job_.content_key);
  key.set_cached(state_.engine.IsCached(job_.content_key));
  stage_ = Stage::kStarts;
  return absl::OkStatus();
}

absl::Status EncodeCall::TakeStart() {
  const v1::EncodeStart& start = request_.start();
  if (deliveries_.size() >= static_cast<size_t>(state_.options.max_starts)) {
    return InvalidArgument("more than ", state_.options.max_starts, " starts in one call");
  }
  VL2_RETURN_IF_ERROR(CheckStart(start, job_.plan));
  // A failed encoding is tried again by the next start.
  if (subscription_ == nullptr || !subscription_->status().ok()) {
    VL2_ASSIGN_OR_RETURN(subscription_, state_.engine.Encode(job_, [weak = weak_from_this()] {
      if (const auto call = weak.lock()) call->OnProgress();
    }));
  }
  Delivery& delivery = deliveries_.emplace_back();
  delivery.start = start;
  delivery.sent = start.first_embedding();
  delivery.begin = Clock::now();
  if (start.has_prepare()) {
    delivery.done = true;
  } else if (start.first_embedding() == job_.plan.num_embeddings) {
    delivery.done = delivery.not_needed = true;
  } else if (start.has_language()) {
    BeginUpload(deliveries_.size() - 1);
  }
  return absl::OkStatus();
}

void EncodeCall::BeginUpload(size_t index) {
  const std::string& address = deliveries_[index].start.language().address();
  const absl::Status allowed = state_.peers.Check(address);
  if (!absl::IsPermissionDenied(allowed)) return Upload(index, allowed);
  // A replica may be so new that the caller knows it and this service does not yet.
  const absl::Status asked =
      state_.peers.Ask(address, [weak = weak_from_this(), index](const absl::Status& now_allowed) {
        const auto call = weak.lock();
        if (call == nullptr) return;
        MutexLock lock(&call->mutex_);
        if (call->end_.has_value()) return;
        call->Upload(index, now_allowed);
        call->Pump();
      });
  if (!asked.ok()) Upload(index, asked);
}

void EncodeCall::Upload(size_t index, const absl::Status& allowed) {
  Delivery& delivery = deliveries_[index];
  EmbeddingUpload::Target target = {.stub = nullptr,
                                    .model_id = state_.info.model_id(),
                                    .slot = delivery.start.language(),
                                    .first_embedding = delivery.start.first_embedding(),
                                    .whole_picture_first = delivery.start.whole_picture_first(),
                                    .deadline = deadline_,
                                    .on_bytes = [&metrics = state_.metrics](int64_t num_bytes) {
                                      metrics.OnUploadBytes(num_bytes);
                                    }};
  if (!allowed.ok()) {
    delivery.done = true;
    delivery.status = allowed;
    return;
  }
  target.trace = span_.point();
  target.stub = state_.LanguageStub(target.slot.address());
  delivery.upload = std::make_shared<EmbeddingUpload>(
      std::move(target), subscription_,
      [weak = weak_from_this(), index](const absl::Status& status, double upload_ms) {
        if (const auto call = weak.lock()) call->UploadEnded(index, status, upload_ms);
      });
  state_.metrics.OnUploadBegin();
  delivery.upload->Start();
}

void EncodeCall::UploadEnded(size_t index, absl::Status status, double upload_ms) {
  MutexLock lock(&mutex_);
  last_use_ = Clock::now();
  Delivery& delivery = deliveries_[index];
  delivery.done = true;
  delivery.upload_ms = upload_ms;
  state_.metrics.OnUploadEnd(status, upload_ms / 1000);
  // The sequence has ended, or has been cancelled: nobody needs the embeddings any more.
  delivery.not_needed = absl::IsNotFound(status);
  if (!delivery.not_needed) delivery.status = std::move(status);
  Pump();
}

void EncodeCall::OnProgress() {
  std::vector<std::shared_ptr<EmbeddingUpload>> uploads;
  {
    MutexLock lock(&mutex_);
    last_use_ = Clock::now();
    for (const Delivery& delivery : deliveries_) {
      if (delivery.upload != nullptr && !delivery.done) uploads.push_back(delivery.upload);
    }
    Pump();
  }
  for (const auto& upload : uploads) upload->Advance();
}

void EncodeCall::End(const absl::Status& status) {
  if (!end_.has_value()) {
    end_ = status;
    if (absl::IsCancelled(status)) state_.metrics.OnCancelled(static_cast<int>(stage_));
    if (stage_ == Stage::kHeader) --state_.num_nameless_calls;
  }
  waiting_.clear();
  for (const Delivery& delivery : deliveries_) {
    if (delivery.upload != nullptr && !delivery.done) delivery.upload->Cancel();
  }
  if (subscription_ != nullptr) {
    timings_ = subscription_->timings();
    from_cache_ = subscription_->from_cache();
    num_reused_tiles_ = subscription_->num_reused_tiles();
    // A picture that another call began was not begun for this one.
    if (subscription_->timeline() != job_.timeline) job_.timeline.reset();
  }
  // The queue and the limits hear of it at once, not when the last message is through.
  subscription_.reset();
  image_.reset();
  Pump();
}

void EncodeCall::Pump() {
  if (is_writing_ || finished_) return;
  if (end_.has_value()) {
    // Cancelled uploads end soon; until then they use the engine.
    for (const Delivery& delivery : deliveries_) {
      if (delivery.upload != nullptr && !delivery.done) return;
    }
    finished_ = true;
    finished_at_ = Clock::now();
    state_.gate.AddState(context_);
    Finish(StatusToGrpc(*end_));
    return;
  }
  if (FillNext()) {
    is_writing_ = true;
    StartWrite(&writing_);
    return;
  }
  if (half_closed_ && num_reported_ == deliveries_.size()) End(absl::OkStatus());
}

// The next message, if there is one to send now.
bool EncodeCall::FillNext() {
  writing_.Clear();
  if (!waiting_.empty()) {
    writing_ = std::move(waiting_.front());
    waiting_.pop_front();
    return true;
  }
  if (num_reported_ == deliveries_.size()) return false;
  if (subscription_ != nullptr && subscription_->num_encoded_tiles() > reported_tiles_) {
    // Read first: never more than the encoded ones.
    const int reused_tiles = subscription_->num_reused_tiles();
    reported_tiles_ = subscription_->num_encoded_tiles();
    writing_.mutable_progress()->set_encoded_tiles(reported_tiles_);
    writing_.mutable_progress()->set_num_tiles(subscription_->num_tiles());
    writing_.mutable_progress()->set_reused_tiles(reused_tiles);
    return true;
  }
  for (Delivery& delivery : deliveries_) {
    if (delivery.done || !delivery.start.has_return_to_caller()) continue;
    if (FillEmbeddings(delivery)) return true;
    if (!delivery.done) break;
  }
  if (!deliveries_[num_reported_].done) return false;
  FillDone(num_reported_++);
  return true;
}

bool EncodeCall::FillEmbeddings(Delivery& delivery) {
  const ConstHostMatrix rows = subscription_->embeddings();
  const int64_t ready = subscription_->num_ready();
  if (ready < rows.rows) {
    if (const absl::Status status = subscription_->status(); !status.ok()) {
      delivery.done = true;
      delivery.status = status;
      return false;
    }
    if (delivery.start.whole_picture_first()) return false;
  }
  if (delivery.sent >= ready) return false;
  const v1::DType dtype =
      delivery.start.return_to_caller().dtype() == v1::DTYPE_BF16 ? v1::DTYPE_BF16 : v1::DTYPE_F32;
  const int64_t count = std::min(ready - delivery.sent, EmbeddingsPerMessage(rows.cols, dtype));
  v1::Embeddings& embeddings = *writing_.mutable_embeddings();
  embeddings.set_first_embedding(delivery.sent);
  embeddings.set_num_embeddings(count);
  embeddings.set_dtype(dtype);
  embeddings.set_data(EmbeddingBytes(rows.Rows(delivery.sent, count), dtype));
  delivery.sent += count;
  if (delivery.sent == rows.rows) {
    delivery.done = true;
    delivery.upload_ms =
        std::chrono::duration<double, std::milli>(Clock::now() - delivery.begin).count();
  }
  return true;
}

void EncodeCall::FillDone(size_t index) {
  const Delivery& delivery = deliveries_[index];
  v1::DeliveryDone& done = *writing_.mutable_done();
  done.set_start_index(static_cast<int32_t>(index));
  done.set_status_code(static_cast<int32_t>(delivery.status.code()));
  done.set_status_message(Message(delivery.status));
  done.set_not_needed(delivery.not_needed);
  const EncodingTimings timings = subscription_->timings();
  done.mutable_timings()->set_decode_ms(timings.decode_ms);
  done.mutable_timings()->set_tiling_ms(timings.tiling_ms);
  done.mutable_timings()->set_queue_ms(timings.queue_ms);
  done.mutable_timings()->set_encode_ms(timings.encode_ms);
  done.mutable_timings()->set_upload_ms(delivery.upload_ms);
  done.mutable_timings()->set_from_cache(subscription_->from_cache());
  done.mutable_timings()->set_reused_tiles(subscription_->num_reused_tiles());
}

void EncodeCall::Report() {
  const absl::Status status = end_.value_or(absl::CancelledError());
  if (!finished_) finished_at_ = Clock::now();
  double upload_ms = 0;
  for (const Delivery& delivery : deliveries_) {
    upload_ms = std::max(upload_ms, delivery.upload_ms);
  }
  const TraceContext& trace = span_.context();
  const int num_tiles = has_layout_ ? job_.plan.num_tiles : 0;
  Log(Severity::kInfo, "encode",
      {{"request", request_id_},
       {"trace", trace.valid() ? ToHex(trace.trace_id) : "-"},
       {"code", CodeLabel(status.code())},
       {"ms", Rounded(std::chrono::duration<double, std::milli>(finished_at_ - begin_).count())},
       {"bytes", num_bytes_},
       {"width", has_layout_ ? job_.plan.image.width : 0},
       {"height", has_layout_ ? job_.plan.image.height : 0},
       {"tiles", num_tiles},
       {"reused_tiles", num_reused_tiles_},
       {"from_cache", from_cache_},
       {"decode_ms", Rounded(timings_.decode_ms)},
       {"tile_ms", Rounded(timings_.tiling_ms)},
       {"queue_ms", Rounded(timings_.queue_ms)},
       {"encode_ms", Rounded(timings_.encode_ms)},
       {"upload_ms", Rounded(upload_ms)},
       {"deliveries", deliveries_.size()}});
  if (span_.recording()) {
    span_.Set("vl2.request_id", request_id_);
    span_.Set("vl2.tiles", num_tiles);
    span_.Set("vl2.reused_tiles", num_reused_tiles_);
    span_.Set("vl2.from_cache", from_cache_);
    if (job_.timeline != nullptr && !from_cache_) {
      AddEncodingSpans(*job_.timeline, job_.plan.tiles_wide, finished_at_, span_);
    }
  }
  EndRpcSpan(status, span_, finished_at_);
}

std::chrono::milliseconds EncodeCall::Timeout() const {
  return std::chrono::milliseconds(stage_ == Stage::kHeader ? state_.options.header_timeout_ms
                                                            : state_.options.held_image_timeout_ms);
}

void EncodeCall::SetExpiry() {
  // The next stage's may be shorter.
  const auto timeout =
      std::min(Timeout(), std::chrono::milliseconds(state_.options.held_image_timeout_ms));
  const auto left = last_use_ + timeout - Clock::now();
  // Weak: the alarm may fire when the call has gone.
  expiry_.Set(std::chrono::system_clock::now() +
                  std::max(std::chrono::duration_cast<std::chrono::milliseconds>(left),
                           std::chrono::milliseconds(1)),
              [weak = weak_from_this()](bool) {
                if (const auto call = weak.lock()) call->CheckExpiry();
              });
}

void EncodeCall::CheckExpiry() {
  MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  const bool busy =
      reading_layout_ || (stage_ == Stage::kStarts && num_reported_ < deliveries_.size());
  if (busy || Clock::now() < last_use_ + Timeout()) {
    if (busy) last_use_ = Clock::now();
    SetExpiry();
    return;
  }
  End(absl::DeadlineExceededError(
      stage_ == Stage::kHeader
          ? Cat("no header came within header_timeout_ms ", state_.options.header_timeout_ms)
          : Cat("the picture was not used for held_image_timeout_ms ",
                state_.options.held_image_timeout_ms)));
}

}  // namespace vl2
