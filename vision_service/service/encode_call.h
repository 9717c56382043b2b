// EncodeCall: one Encode call: a picture in, its layout and key out, then its embeddings to whoever
// an EncodeStart names.
//
// Uploads run beside each other; embeddings that go back on this stream are sent one start after
// the other. DeliveryDone comes in the order of the starts.
//
// Headers are read aside, never by gRPC's threads; meanwhile no more is taken from the stream. A
// layout that a tag behind the pixels may still change is sent early only when the caller has not
// said how long the file is, and then again if it changes.
//
// Owns: itself, from Start to OnDone; the picture; the deliveries.
// Threading: gRPC's and the engine's threads; mutex_ guards everything.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grpcpp/alarm.h"
#include "grpcpp/support/server_callback.h"
#include "runtime/base/mutex.h"
#include "runtime/trace/span.h"
#include "vision_service/service/embedding_upload.h"
#include "vision_service/service/vision_service.h"
#include "vl2/v1/vision.pb.h"

namespace vl2 {

class EncodeCall : public grpc::ServerBidiReactor<v1::EncodeRequest, v1::EncodeResponse>,
                   public std::enable_shared_from_this<EncodeCall> {
 public:
  static constexpr size_t kMaxChunkBytes = size_t{1} << 20;

  static EncodeCall* Start(VisionServiceState& state, grpc::CallbackServerContext& context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  enum class Stage { kHeader, kBytes, kStarts };
  struct Delivery {
    v1::EncodeStart start;
    int64_t sent = 0;  // return_to_caller: embeddings before are sent
    std::shared_ptr<EmbeddingUpload> upload;
    bool done = false;
    bool not_needed = false;
    absl::Status status;
    std::chrono::steady_clock::time_point begin;
    double upload_ms = 0;
  };

  EncodeCall(VisionServiceState& state, grpc::CallbackServerContext& context)
      : state_(state), context_(context), deadline_(context.deadline()) {}

  absl::Status Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeHeader() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeChunk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeStart() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Has the layout read from the bytes so far, all of them when `complete`. The next message is
  // taken afterwards.
  void ReadLayoutAside(bool complete) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadLayout(bool complete);
  // Sends the layout when it is new.
  absl::Status TakeLayout(const ImageInfo& info, bool complete)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeKey() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Uploads once it is known that the address may be sent to.
  void BeginUpload(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Upload(size_t index, const absl::Status& allowed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnProgress();
  void UploadEnded(size_t index, absl::Status status, double upload_ms);
  // Starts the next write, or finishes the stream.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool FillNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool FillEmbeddings(Delivery& delivery) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillDone(size_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How long the call may go unused at its stage.
  std::chrono::milliseconds Timeout() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetExpiry() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckExpiry();
  // The call's line in the log and its spans, once it is over.
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  VisionServiceState& state_;
  grpc::CallbackServerContext& context_;  // until OnDone
  bool entered_ = false;                  // the service's gate; set once, before anything else
  const std::chrono::system_clock::time_point deadline_;
  std::shared_ptr<EncodeCall> self_;  // until OnDone
  v1::EncodeRequest request_;         // being read or taken

  Mutex mutex_;
  Stage stage_ ABSL_GUARDED_BY(mutex_) = Stage::kHeader;
  EncodeJob job_ ABSL_GUARDED_BY(mutex_);
  std::string request_id_ ABSL_GUARDED_BY(mutex_);
  int64_t total_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // as the header says; 0: not said
  std::unique_ptr<HeldImage> image_ ABSL_GUARDED_BY(mutex_);
  bool has_layout_ ABSL_GUARDED_BY(mutex_) = false;
  bool layout_is_final_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_layout_ ABSL_GUARDED_BY(mutex_) = false;  // no read of the stream is under way
  size_t next_layout_bytes_ ABSL_GUARDED_BY(mutex_) = 1;
  std::shared_ptr<EncodeSubscription> subscription_ ABSL_GUARDED_BY(mutex_);
  std::vector<Delivery> deliveries_ ABSL_GUARDED_BY(mutex_);
  size_t num_reported_ ABSL_GUARDED_BY(mutex_) = 0;  // deliveries whose end was sent
  int reported_tiles_ ABSL_GUARDED_BY(mutex_) = -1;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<v1::EncodeResponse> waiting_ ABSL_GUARDED_BY(mutex_);
  v1::EncodeResponse writing_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  // For the report.
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point finished_at_ ABSL_GUARDED_BY(mutex_);
  EncodingTimings timings_ ABSL_GUARDED_BY(mutex_);
  bool from_cache_ ABSL_GUARDED_BY(mutex_) = false;
  int num_reused_tiles_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  Span span_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point last_use_ ABSL_GUARDED_BY(mutex_);
  grpc::Alarm expiry_;
};

}  // namespace vl2
