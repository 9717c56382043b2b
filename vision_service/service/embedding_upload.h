// EmbeddingUpload: streams the embeddings of a picture to a language service as they get ready.
//
// An attempt that the network breaks off (UNAVAILABLE) is repeated once, from the beginning: what
// has arrived is ignored there.
//
// Owns: the call. Threading: thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "runtime/base/mutex.h"
#include "runtime/trace/span.h"
#include "vision_service/engine/vision_engine.h"
#include "vl2/v1/language.grpc.pb.h"
#include "vl2/v1/vision.pb.h"

namespace vl2 {

class EmbeddingUpload : public std::enable_shared_from_this<EmbeddingUpload> {
 public:
  struct Target {
    std::shared_ptr<v1::LanguageService::Stub> stub;
    std::string model_id;
    v1::LanguageTarget slot;
    int64_t first_embedding = 0;
    bool whole_picture_first = false;
    std::chrono::system_clock::time_point deadline;
    std::function<void(int64_t)> on_bytes = {};  // hears of every chunk that is sent
    TracePoint trace = {};                       // the calls' spans begin below it
  };
  // `on_done` is called once, by a thread of gRPC, with how it ended and the time from the first to
  // the last byte.
  using OnDone = std::function<void(const absl::Status& status, double upload_ms)>;

  EmbeddingUpload(Target target, std::shared_ptr<EncodeSubscription> subscription, OnDone on_done);

  void Start();
  // More embeddings are ready, or the encoding has failed.
  void Advance();
  void Cancel();

 private:
  class Attempt;
  void AttemptEnded(const absl::Status& status);

  const Target target_;
  std::shared_ptr<EncodeSubscription> subscription_;  // until on_done_; read by the attempt
  Mutex mutex_;
  OnDone on_done_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Attempt> attempt_ ABSL_GUARDED_BY(mutex_);
  int num_attempts_ ABSL_GUARDED_BY(mutex_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point begin_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2
