// ImageDelivery: one image of a request, from its layout to its embeddings in the language service.
//
//   Opening ── layout and key known ──► Keyed ── Need ──► Delivering
//                                         ▲ ◄─ delivered ──┘ │  ▲
//                                         │                  ▼  │
//                                         └─ lost or closed ► Idle ── Need opens a new stream
//
// A vision replica that is lost is replaced by sending the image again; after a failure the stream
// is left open until then, in case the image is not needed any more. Embeddings that no vision
// replica gets across are reported, and the language service is replaced by the session.
//
// Owns: the image's bytes, its stream. Borrows vision and sink. Threading: runs in the session's
// thread; the sink is called there, also from inside these methods.
// Errors: to the sink, as the client shall see them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "gateway/session/retry_policy.h"
#include "gateway/session/session_thread.h"
#include "gateway/session/upstream.h"

namespace vl2::gateway {

class ImageDelivery {
 public:
  enum class State {
    kOpening,     // layout or content key are not known yet
    kKeyed,       // they are, and the open stream could deliver
    kDelivering,  // the language service waits for the embeddings
    kIdle,        // nothing is asked for, and no stream could deliver
  };

  class Sink {
   public:
    virtual ~Sink() = default;
    // The first time, and only then: the same image has the same layout and key everywhere.
    virtual void OnLayout() = 0;
    virtual void OnKey() = 0;
    virtual void OnImageProgress() = 0;
    // It is sent again, after `status`.
    virtual void OnImageRetry(const absl::Status& status) {}
    // Two vision replicas in a row could not reach the language service.
    virtual void OnUndeliverable(const absl::Status& status) = 0;
    // The end of the request.
    virtual void OnImageFailed(absl::Status status) = 0;
  };

  // `request.avoid` is empty; `index` is the image's place in the request.
  ImageDelivery(int index, ImageRequest request, VisionUpstream* vision,
                std::shared_ptr<SessionThread> thread, Sink* sink);
  ImageDelivery(const ImageDelivery&) = delete;
  ImageDelivery& operator=(const ImageDelivery&) = delete;

  void Open();
  // Encoding may start, in expectation of a delivery.
  void Prepare();
  // The language service lacks embeddings; `target` without a delivery id.
  void Need(EncodeTarget target);
  // The sequence that needed them is gone.
  void ForgetNeed();
  // `all_arrived`: a token means that the language service has all embeddings, whether vision has
  // said so or not.
  void OnFirstToken(bool all_arrived);
  void Cancel();
  // For good: nothing is reported any more.
  void Retire();

  State state() const { return state_; }
  const std::optional<ImageLayout>& layout() const { return layout_; }
  const std::string& key() const { return key_; }  // empty: not known yet
  const ImageProgress& progress() const { return progress_; }
  double encode_ms() const { return encode_ms_; }
  // The last that was asked; empty: none yet.
  const std::string& replica() const { return replica_; }

 private:
  void On(const ImageLayout& layout);
  void On(const ImageKey& key);
  void On(const ImageProgress& progress);
  void On(const ImageDelivered& delivered);
  void On(const ImageClosed& closed);
  void Deliver();
  void LeaveOpening();
  void Fail(const absl::Status& status);

  const int index_;
  ImageRequest request_;
  VisionUpstream* const vision_;
  const std::shared_ptr<SessionThread> thread_;
  Sink* const sink_;

  State state_ = State::kOpening;
  RetryPolicy retry_{RetryPolicy::LateFull::kRetry};
  int attempt_ = 0;  // events of earlier attempts are ignored
  std::shared_ptr<ImageStream> stream_;
  std::string replica_;
  std::optional<ImageLayout> layout_;
  std::string key_;
  EncodeTarget target_;      // in kDelivering; its delivery id is the last one asked for
  int num_undelivered_ = 0;  // deliveries in a row that did not reach the language service
  ImageProgress progress_;
  double encode_ms_ = 0;
};

}  // namespace vl2::gateway
