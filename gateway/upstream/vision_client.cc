#include "gateway/upstream/vision_client.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>
#include <vector>

#include "gateway/upstream/replica_loss.h"
#include "grpcpp/client_context.h"
#include "runtime/base/crc32c.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"
#include "runtime/rpc/call_span.h"
#include "runtime/rpc/grpc_status.h"
#include "vl2/v1/vision.grpc.pb.h"

namespace vl2::gateway {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

void FillTiling(const TilingChoice& from, v1::Tiling& to) {
  using Kind = TilingChoice::Kind;
  switch (from.kind) {
    case Kind::kPublishedRule:
    case Kind::kBestOfAll:
      to.set_best_of_all(true);
      break;
    case Kind::kSingleTile:
      to.set_best_of_all(false);
      break;
    case Kind::kMaxTiles:
      to.set_max_tiles(from.max_tiles);
      break;
    case Kind::kFixed:
      to.mutable_fixed()->set_tiles_wide(from.tiles_wide);
      to.mutable_fixed()->set_tiles_high(from.tiles_high);
      break;
  }
}

// One Encode stream: header, chunks, end of image, then starts as they are asked for. Keeps itself
// until gRPC is done with it.
class EncodeReactor final : public ImageStream,
                            public grpc::ClientBidiReactor<v1::EncodeRequest, v1::EncodeResponse> {
 public:
  static std::shared_ptr<EncodeReactor> Start(ReplicaSet* replicas,
                                              std::shared_ptr<ReplicaLease> lease,
                                              const ImageRequest& request, bool whole_picture_first,
                                              ImageSink sink) {
    auto reactor = std::make_shared<EncodeReactor>();
    reactor->replicas_ = replicas;
    reactor->stub_ = v1::VisionService::NewStub(lease->replica().channel);
    reactor->lease_ = std::move(lease);
    reactor->bytes_ = request.image.bytes;
    reactor->whole_picture_first_ = whole_picture_first;
    reactor->sink_ = std::move(sink);
    if (request.deadline != Clock::time_point::max()) {
      reactor->context_.set_deadline(std::chrono::system_clock::now() +
                                     (request.deadline - Clock::now()));
    }
    v1::EncodeHeader& header = *reactor->outgoing_.mutable_header();
    header.set_request_id(request.request_id);
    header.set_client_id(request.client_id);
    header.set_priority(request.priority);
    header.set_total_bytes(static_cast<int64_t>(reactor->bytes_->size()));
    header.set_policy(request.image.policy == ImagePolicy::kPublished ? v1::IMAGE_POLICY_PUBLISHED
                                                                      : v1::IMAGE_POLICY_SERVING);
    FillTiling(request.image.tiling, *header.mutable_tiling());

    reactor->span_.Begin(request.trace, {"vl2.v1.VisionService", "Encode"}, reactor->replica(),
                         request.lost, reactor->context_);
    reactor->self_ = reactor;
    reactor->lease_->WhenHung([weak = std::weak_ptr(reactor)] {
      if (const auto self = weak.lock()) self->context_.TryCancel();
    });
    reactor->stub_->async()->Encode(&reactor->context_, reactor.get());
    // Starts are written from outside of gRPC's callbacks for as long as replies can come.
    reactor->AddHold();
    {
      MutexLock lock(&reactor->mutex_);
      reactor->writing_ = true;
      reactor->StartWrite(&reactor->outgoing_);
    }
    reactor->StartRead(&reactor->incoming_);
    reactor->StartCall();
    return reactor;
  }

  const std::string& replica() const override { return lease_->replica().address; }
  const std::string& pool() const override { return lease_->pool(); }
  TraceContext trace() const override { return span_.context(); }

  void Prepare() override {
    v1::EncodeRequest request;
    request.mutable_start()->mutable_prepare();
    Enqueue(std::move(request), 0);
  }

  void Deliver(const EncodeTarget& target) override {
    v1::EncodeRequest request;
    v1::EncodeStart& start = *request.mutable_start();
    start.set_first_embedding(target.first_embedding);
    start.set_whole_picture_first(whole_picture_first_);
    v1::LanguageTarget& language = *start.mutable_language();
    language.set_address(target.address);
    language.set_sequence_id(target.sequence_id);
    language.set_slot(target.slot);
    language.set_upload_token(target.upload_token);
    Enqueue(std::move(request), target.delivery_id);
  }

  void Close() override {
    MutexLock lock(&mutex_);
    closing_ = true;
    WriteNext();
  }

  void Cancel() override {
    span_.End(absl::CancelledError());
    context_.TryCancel();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) ended_ = true;
    WriteNext();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        MutexLock lock(&mutex_);
        ended_ = true;
      }
      RemoveHold();
      return;
    }
    switch (incoming_.message_case()) {
      case v1::EncodeResponse::kLayout: {
        const v1::ImageLayout& layout = incoming_.layout();
        sink_(ImageLayout{layout.width(), layout.height(), layout.tiles_wide(), layout.tiles_high(),
                          layout.num_embeddings()});
        break;
      }
      case v1::EncodeResponse::kContentKey:
        sink_(ImageKey{incoming_.content_key().key(), incoming_.content_key().cached()});
        break;
      case v1::EncodeResponse::kProgress:
        sink_(ImageProgress{incoming_.progress().encoded_tiles(), incoming_.progress().num_tiles(),
                            incoming_.progress().reused_tiles()});
        break;
      case v1::EncodeResponse::kDone:
        OnDelivery(incoming_.done());
        break;
      case v1::EncodeResponse::kEmbeddings:  // never asked for
      case v1::EncodeResponse::MESSAGE_NOT_SET:
        break;
    }
    StartRead(&incoming_);
  }

  void OnDone(const grpc::Status& status) override {
    const absl::Status result = GrpcToStatus(status);
    ReportLoss(result, context_, *replicas_, lease_->replica());
    span_.End(result);
    sink_(ImageClosed{result});
    sink_ = nullptr;
    self_.reset();  // may destroy this
  }

 private:
  void OnDelivery(const v1::DeliveryDone& done) {
    uint64_t delivery_id = 0;
    {
      MutexLock lock(&mutex_);
      if (done.start_index() < 0 || static_cast<size_t>(done.start_index()) >= starts_.size()) {
        return;
      }
      delivery_id = starts_[done.start_index()];
    }
    if (delivery_id == 0) return;  // a Prepare
    ImageDelivered delivered;
    delivered.delivery_id = delivery_id;
    delivered.encode_ms = done.timings().encode_ms();
    if (done.status_code() != 0 && !done.not_needed()) {
      delivered.status = GrpcToStatus(
          grpc::Status(static_cast<grpc::StatusCode>(done.status_code()), done.status_message()));
    }
    sink_(std::move(delivered));
  }

  void Enqueue(v1::EncodeRequest request, uint64_t delivery_id) {
    MutexLock lock(&mutex_);
    if (closing_) return;
    starts_.push_back(delivery_id);
    queue_.push_back(std::move(request));
    WriteNext();
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || ended_) return;
    if (offset_ < bytes_->size()) {
      const size_t num_bytes = std::min(kChunkBytes, bytes_->size() - offset_);
      outgoing_.set_chunk(bytes_->data() + offset_, num_bytes);
      offset_ += num_bytes;
    } else if (!end_sent_) {
      outgoing_.mutable_end_of_image();
      end_sent_ = true;
    } else if (!queue_.empty()) {
      outgoing_ = std::move(queue_.front());
      queue_.pop_front();
    } else {
      if (closing_ && !half_closed_) {
        half_closed_ = true;
        StartWritesDone();
      }
      return;
    }
    writing_ = true;
    StartWrite(&outgoing_);
  }

  ReplicaSet* replicas_ = nullptr;
  std::shared_ptr<ReplicaLease> lease_;
  std::unique_ptr<v1::VisionService::Stub> stub_;
  std::shared_ptr<const std::string> bytes_;
  bool whole_picture_first_ = false;
  grpc::ClientContext context_;
  v1::EncodeResponse incoming_;
  ImageSink sink_;
  CallSpan span_;
  std::shared_ptr<EncodeReactor> self_;

  Mutex mutex_;
  v1::EncodeRequest outgoing_;  // belongs to gRPC while writing_
  std::deque<v1::EncodeRequest> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> starts_ ABSL_GUARDED_BY(mutex_);  // delivery ids; 0: a Prepare
  size_t offset_ ABSL_GUARDED_BY(mutex_) = 0;             // bytes of the file sent
  bool end_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::StatusOr<std::shared_ptr<ImageStream>> VisionClient::Open(const ImageRequest& request,
                                                                ImageSink sink) {
  // Where the same bytes were encoded before, their embeddings may still be.
  const std::string& bytes = *request.image.bytes;
  const uint64_t affinity = bytes.size() << 32 ^ Crc32c(bytes);
  auto lease = replicas_->Pick({request.model_id, request.pool, request.avoid, affinity});
  if (!lease.ok()) return lease.status();
  return EncodeReactor::Start(replicas_, *std::move(lease), request, whole_picture_first_,
                              std::move(sink));
}

absl::StatusOr<v1::ModelInfo> VisionClient::Probe(const std::shared_ptr<grpc::Channel>& channel,
                                                  std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  v1::ModelInfo info;
  const auto stub = v1::VisionService::NewStub(channel);
  const grpc::Status status = stub->GetModelInfo(&context, {}, &info);
  if (!status.ok()) return GrpcToStatus(status);
  return info;
}

}  // namespace vl2::gateway
