// HeldImages: the files that calls hold, counted by client, and what the pictures of one request
// take together when decoded.
//
// Owns: the counts; the bytes belong to each HeldImage. Outlives what it gave out.
// Threading: thread-safe.
// Errors: RESOURCE_EXHAUSTED for what another client or a later attempt might get, INVALID_ARGUMENT
//   for what this request will never get; both name value and limit.
// Limits: HeldImageLimits; pictures and bytes are shared out by ClientShares.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "runtime/base/mutex.h"
#include "runtime/base/sha256.h"
#include "runtime/base/throughput.h"
#include "vision_service/engine/client_shares.h"
#include "vision_service/engine/encoding.h"

namespace vl2 {

struct HeldImageLimits {
  int64_t max_images = 256;
  int64_t max_bytes = int64_t{512} << 20;        // of files
  int64_t max_request_bytes = int64_t{1} << 30;  // decoded, of one request's pictures
  size_t max_file_bytes = size_t{20} << 20;      // of one file
};

class HeldImages;

// A file that arrives piece by piece. Its bytes count while it lives.
// Threading: one thread at a time.
class HeldImage {
 public:
  ~HeldImage();
  // INVALID_ARGUMENT beyond max_file_bytes; RESOURCE_EXHAUSTED when too much is held.
  absl::Status Append(std::string_view chunk);
  const std::string& bytes() const { return *bytes_; }
  // Must not be appended to while others read it.
  ImageBytes shared_bytes() const { return bytes_; }
  // Once, after the last Append.
  Sha256Digest Digest() { return sha_.Finish(); }

  // Counts the picture to a request, once however often its content comes in the same request:
  // that is decoded once. A second attempt for a picture whose first call is not yet gone counts
  // nothing. The empty request id is no request. INVALID_ARGUMENT when the request takes too much.
  absl::Status CountForRequest(const std::string& request_id, const std::string& content_key,
                               int64_t decoded_bytes);

 private:
  friend class HeldImages;
  HeldImage(HeldImages& images, const std::string& client)
      : images_(images), client_(client), bytes_(std::make_shared<std::string>()) {}
  HeldImages& images_;
  const std::string client_;
  std::shared_ptr<std::string> bytes_;
  Sha256 sha_;
  std::string request_id_, content_key_;  // as counted; empty: not
};

class HeldImages {
 public:
  explicit HeldImages(const HeldImageLimits& limits);

  // Room for one more picture of the client, or RESOURCE_EXHAUSTED.
  absl::StatusOr<std::unique_ptr<HeldImage>> Hold(const std::string& client);
  int64_t num_images() const;
  int64_t num_bytes() const;
  int64_t num_clients() const;

 private:
  friend class HeldImage;
  // What one request's pictures take.
  struct Request {
    struct Picture {
      int64_t bytes = 0;
      int num_calls = 0;
    };
    int64_t bytes = 0;
    std::map<std::string, Picture> pictures;  // by content key
  };

  // `status`, and after what time there may be room.
  absl::Status Full(const absl::Status& status) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const HeldImageLimits limits_;
  mutable Mutex mutex_;
  Throughput throughput_ ABSL_GUARDED_BY(mutex_){Throughput::Clock::now()};  // images that ended
  ClientShares images_ ABSL_GUARDED_BY(mutex_);
  ClientShares bytes_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, Request> requests_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2
