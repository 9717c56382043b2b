#include "vision_service/service/embedding_upload.h"

#include <algorithm>
#include <utility>

#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "runtime/base/crc32c.h"
#include "runtime/base/status.h"
#include "runtime/rpc/call_span.h"
#include "runtime/rpc/grpc_status.h"
#include "vision_service/service/wire.h"

namespace vl2 {

// One call. Writes start from any thread, so a hold keeps it open until all is said.
class EmbeddingUpload::Attempt : public grpc::ClientWriteReactor<v1::UploadRequest> {
 public:
  explicit Attempt(std::shared_ptr<EmbeddingUpload> owner)
      : owner_(std::move(owner)), sent_(owner_->target_.first_embedding) {}

  void Begin() {
    const Target& target = owner_->target_;
    context_.set_deadline(target.deadline);
    span_.Begin(target.trace, {"vl2.v1.LanguageService", "UploadEmbeddings"}, target.slot.address(),
                {}, context_);
    // Without waiting for a service that is not there: the caller knows others.
    v1::UploadHeader& header = *request_.mutable_header();
    header.set_model_id(target.model_id);
    header.set_sequence_id(target.slot.sequence_id());
    header.set_slot(target.slot.slot());
    header.set_upload_token(target.slot.upload_token());
    header.set_dtype(v1::DTYPE_F32);
    target.stub->async()->UploadEmbeddings(&context_, &summary_, this);
    AddHold();
    StartWrite(&request_);
    StartCall();
  }

  void Advance() {
    MutexLock lock(&mutex_);
    Pump();
  }

  void Cancel() { context_.TryCancel(); }

  // Comes with the answer's beginning, which here is its end: the service needs no more.
  void OnReadInitialMetadataDone(bool ok) override {
    MutexLock lock(&mutex_);
    Release();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    is_writing_ = false;
    if (!ok) {
      Release();
      return;
    }
    Pump();
  }

  void OnDone(const grpc::Status& status) override {
    absl::Status result = GrpcToStatus(status);
    // INVALID_ARGUMENT is what a bad picture gets; a refused upload is no fault of the picture.
    if (absl::IsInvalidArgument(result)) {
      result = absl::InternalError(Cat("the language service refused: ", Message(result)));
    }
    {
      MutexLock lock(&mutex_);
      if (!failure_.ok()) result = failure_;
    }
    span_.End(result);
    owner_->AttemptEnded(result);
  }

 private:
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (is_writing_ || released_) return;
    const EncodeSubscription& subscription = *owner_->subscription_;
    const int64_t total = subscription.embeddings().rows;
    const int64_t ready = subscription.num_ready();
    if (sent_ == total) {
      StartWritesDone();
      Release();
      return;
    }
    if (ready < total) {
      if (const absl::Status status = subscription.status(); !status.ok()) {
        failure_ = status;
        context_.TryCancel();
        Release();
        return;
      }
    }
    if (ready <= sent_ || (owner_->target_.whole_picture_first && ready < total)) return;
    const ConstHostMatrix rows = subscription.embeddings();
    const int64_t count = std::min(ready - sent_, EmbeddingsPerMessage(rows.cols, v1::DTYPE_F32));
    v1::UploadChunk& chunk = *request_.mutable_chunk();
    chunk.set_first_embedding(sent_);
    chunk.set_num_embeddings(count);
    chunk.set_data(EmbeddingBytes(rows.Rows(sent_, count), v1::DTYPE_F32));
    chunk.set_crc32c(Crc32c(chunk.data()));
    sent_ += count;
    if (owner_->target_.on_bytes)
      owner_->target_.on_bytes(static_cast<int64_t>(chunk.data().size()));
    is_writing_ = true;
    StartWrite(&request_);
  }

  void Release() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!std::exchange(released_, true)) RemoveHold();
  }

  const std::shared_ptr<EmbeddingUpload> owner_;
  grpc::ClientContext context_;
  CallSpan span_;
  v1::UploadSummary summary_;
  Mutex mutex_;
  v1::UploadRequest request_;
  int64_t sent_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = true;  // the header first
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

EmbeddingUpload::EmbeddingUpload(Target target, std::shared_ptr<EncodeSubscription> subscription,
                                 OnDone on_done)
    : target_(std::move(target)),
      subscription_(std::move(subscription)),
      on_done_(std::move(on_done)) {}

void EmbeddingUpload::Start() {
  const auto attempt = std::make_shared<Attempt>(shared_from_this());
  {
    MutexLock lock(&mutex_);
    if (num_attempts_++ == 0) begin_ = std::chrono::steady_clock::now();
    attempt_ = attempt;
    if (cancelled_) attempt->Cancel();
  }
  attempt->Begin();
}

void EmbeddingUpload::Advance() {
  std::shared_ptr<Attempt> attempt;
  {
    MutexLock lock(&mutex_);
    attempt = attempt_;
  }
  if (attempt != nullptr) attempt->Advance();
}

void EmbeddingUpload::Cancel() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  if (attempt_ != nullptr) attempt_->Cancel();
}

void EmbeddingUpload::AttemptEnded(const absl::Status& status) {
  std::shared_ptr<Attempt> ended;  // destroyed last: it owns this
  OnDone on_done;
  double upload_ms = 0;
  {
    MutexLock lock(&mutex_);
    ended = std::move(attempt_);
    if (!absl::IsUnavailable(status) || num_attempts_ > 1 || cancelled_) {
      on_done = std::move(on_done_);
      on_done_ = nullptr;
      // Before on_done: afterwards the engine may go.
      subscription_.reset();
      upload_ms =
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin_)
              .count();
    }
  }
  if (on_done) {
    on_done(status, upload_ms);
  } else {
    Start();
  }
}

}  // namespace vl2
