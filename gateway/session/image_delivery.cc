#include "gateway/session/image_delivery.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

// A delivery that was refused is lost like one that failed: vision does not know the language
// replica yet or any more (PERMISSION_DENIED), or another process has taken its address
// (FAILED_PRECONDITION).
absl::Status AsLost(const absl::Status& status) {
  const bool refused = absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status);
  return refused ? absl::UnavailableError(Message(status)) : status;
}

}  // namespace

ImageDelivery::ImageDelivery(int index, ImageRequest request, VisionUpstream* vision,
                             std::shared_ptr<SessionThread> thread, Sink* sink)
    : index_(index),
      request_(std::move(request)),
      vision_(vision),
      thread_(std::move(thread)),
      sink_(sink) {}

void ImageDelivery::Open() {
  Cancel();
  const int attempt = ++attempt_;
  auto stream = vision_->Open(request_, [this, thread = thread_, attempt](ImageEvent event) {
    thread->Post([this, attempt, event = std::move(event)] {
      if (attempt != attempt_) return;
      std::visit([this](const auto& each) { On(each); }, event);
    });
  });
  if (!stream.ok()) return Fail(stream.status());
  stream_ = *std::move(stream);
  replica_ = stream_->replica();
  if (state_ == State::kDelivering) Deliver();
}

void ImageDelivery::Prepare() {
  if (stream_ != nullptr) stream_->Prepare();
}

void ImageDelivery::Need(EncodeTarget target) {
  const uint64_t last_delivery = target_.delivery_id;
  target_ = std::move(target);
  target_.delivery_id = last_delivery;
  state_ = State::kDelivering;
  // After the first token streams are half-closed: the image is sent again.
  if (stream_ == nullptr || retry_.late()) return Open();
  Deliver();
}

void ImageDelivery::ForgetNeed() {
  if (state_ != State::kDelivering) return;
  state_ = stream_ != nullptr && !retry_.late() ? State::kKeyed : State::kIdle;
}

void ImageDelivery::OnFirstToken(bool all_arrived) {
  if (all_arrived) ForgetNeed();
  retry_.OnFirstToken();
  if (state_ != State::kKeyed) return;
  stream_->Close();
  state_ = State::kIdle;
}

void ImageDelivery::Cancel() {
  if (stream_ != nullptr) stream_->Cancel();
  stream_.reset();
}

void ImageDelivery::Retire() {
  Cancel();
  ++attempt_;
  state_ = State::kIdle;
}

void ImageDelivery::On(const ImageLayout& layout) {
  if (!layout_) {
    layout_ = layout;
    LeaveOpening();
    return sink_->OnLayout();
  }
  if (layout_->num_embeddings == layout.num_embeddings) return;
  sink_->OnImageFailed(
      absl::InternalError(Cat("picture ", index_, " has ", layout.num_embeddings, " embeddings at ",
                              stream_->replica(), " and ", layout_->num_embeddings, " elsewhere")));
}

void ImageDelivery::On(const ImageKey& key) {
  if (key.key.empty()) {
    return sink_->OnImageFailed(absl::InternalError("vision sent an empty content key"));
  }
  if (key_.empty()) {
    key_ = key.key;
    request_.pool = stream_->pool();  // others have other keys
    LeaveOpening();
    return sink_->OnKey();
  }
  if (key_ == key.key) return;
  sink_->OnImageFailed(absl::InternalError(Cat("picture ", index_, " has another content key at ",
                                               stream_->replica(), " than elsewhere")));
}

void ImageDelivery::LeaveOpening() {
  if (layout_ && !key_.empty()) state_ = State::kKeyed;
}

void ImageDelivery::On(const ImageProgress& progress) {
  progress_ = progress;
  sink_->OnImageProgress();
}

void ImageDelivery::Deliver() {
  ++target_.delivery_id;
  stream_->Deliver(target_);
}

void ImageDelivery::On(const ImageDelivered& delivered) {
  encode_ms_ = std::max(encode_ms_, delivered.encode_ms);
  if (state_ != State::kDelivering || delivered.delivery_id != target_.delivery_id) return;
  // NOT_FOUND: the sequence has ended. Its own stream says how.
  if (!delivered.status.ok() && !absl::IsNotFound(delivered.status)) {
    // Vision is there and says that it cannot reach the language service. Another vision service
    // may; when that fails too, the sequence is where nothing gets in, such as in a service that
    // is about to stop.
    const absl::Status lost = AsLost(delivered.status);
    if (absl::IsUnavailable(lost) && ++num_undelivered_ > 1) {
      num_undelivered_ = 0;
      return sink_->OnUndeliverable(lost);
    }
    return Fail(lost);
  }
  num_undelivered_ = 0;
  if (retry_.late() && stream_ != nullptr) stream_->Close();
  ForgetNeed();
}

void ImageDelivery::On(const ImageClosed& closed) {
  const bool idle = state_ == State::kKeyed || state_ == State::kIdle;
  if (absl::IsInvalidArgument(closed.status) && !retry_.late()) return Fail(closed.status);
  // Nothing is lost: the bytes are here, and the image is sent again when it is needed.
  if (idle) {
    stream_.reset();
    state_ = State::kIdle;
    return;
  }
  Fail(closed.status.ok() ? absl::UnavailableError("vision ended the stream early")
                          : closed.status);
}

void ImageDelivery::Fail(const absl::Status& status) {
  // Of the header, or of pixels that turned out broken when they were decoded.
  if (absl::IsInvalidArgument(status)) {
    return sink_->OnImageFailed(
        ParamError("messages", Cat("picture ", index_, ": ", Message(status)), "invalid_image"));
  }
  const auto pause = retry_.OnFailure(status);
  if (!pause) return sink_->OnImageFailed(Annotate(status, Cat("vision, picture ", index_)));
  if (stream_ != nullptr) {
    Log(Severity::kWarning, "vision replica lost",
        {{"request", request_.request_id},
         {"replica", stream_->replica()},
         {"reason", Message(status)}});
    request_.avoid.push_back(stream_->replica());
    request_.lost = stream_->trace();
  }
  sink_->OnImageRetry(status);
  thread_->PostAfter(*pause, [this] {
    // Meanwhile it may have become unnecessary: the sequence it was for is gone.
    if (state_ == State::kOpening || state_ == State::kDelivering) Open();
  });
}

}  // namespace vl2::gateway
