#include "vision_service/engine/held_images.h"

#include <algorithm>

#include "runtime/base/error_details.h"
#include "runtime/base/status.h"

namespace vl2 {

HeldImages::HeldImages(const HeldImageLimits& limits)
    : limits_(limits),
      images_(limits.max_images, "pictures are held", "max_held_images"),
      bytes_(limits.max_bytes, "bytes of pictures are held", "max_held_bytes") {}

absl::StatusOr<std::unique_ptr<HeldImage>> HeldImages::Hold(const std::string& client) {
  MutexLock lock(&mutex_);
  if (const absl::Status room = images_.Take(client, 1); !room.ok()) return Full(room);
  return std::unique_ptr<HeldImage>(new HeldImage(*this, client));
}

absl::Status HeldImages::Full(const absl::Status& status) const {
  const double speed = throughput_.PerSecond(Throughput::Clock::now());
  return WithRetryAfter(status, RetryAfterSeconds(static_cast<double>(images_.total()), speed));
}

int64_t HeldImages::num_images() const {
  MutexLock lock(&mutex_);
  return images_.total();
}

int64_t HeldImages::num_bytes() const {
  MutexLock lock(&mutex_);
  return bytes_.total();
}

int64_t HeldImages::num_clients() const {
  MutexLock lock(&mutex_);
  return images_.num_clients();
}

HeldImage::~HeldImage() {
  MutexLock lock(&images_.mutex_);
  images_.images_.Return(client_, 1);
  images_.throughput_.Add(1, Throughput::Clock::now());
  if (!bytes_->empty()) images_.bytes_.Return(client_, static_cast<int64_t>(bytes_->size()));
  if (request_id_.empty()) return;
  const auto request = images_.requests_.find({client_, request_id_});
  const auto picture = request->second.pictures.find(content_key_);
  if (--picture->second.num_calls > 0) return;
  request->second.bytes -= picture->second.bytes;
  request->second.pictures.erase(picture);
  if (request->second.pictures.empty()) images_.requests_.erase(request);
}

absl::Status HeldImage::Append(std::string_view chunk) {
  if (chunk.empty()) return absl::OkStatus();
  const size_t limit = images_.limits_.max_file_bytes;
  if (chunk.size() > limit - std::min(limit, bytes_->size())) {
    return InvalidArgument("the file has more than ", bytes_->size() + chunk.size() - 1,
                           " bytes, the limit is ", limit);
  }
  {
    MutexLock lock(&images_.mutex_);
    const absl::Status room = images_.bytes_.Take(client_, static_cast<int64_t>(chunk.size()));
    if (!room.ok()) return images_.Full(room);
  }
  bytes_->append(chunk);
  sha_.Update(chunk);
  return absl::OkStatus();
}

absl::Status HeldImage::CountForRequest(const std::string& request_id,
                                        const std::string& content_key, int64_t decoded_bytes) {
  if (request_id.empty()) return absl::OkStatus();
  MutexLock lock(&images_.mutex_);
  HeldImages::Request& request = images_.requests_[{client_, request_id}];
  const bool is_new = request.pictures.count(content_key) == 0;
  const int64_t limit = images_.limits_.max_request_bytes;
  if (is_new && request.bytes + decoded_bytes > limit) {
    const int64_t others = request.bytes;
    const size_t num_others = request.pictures.size();
    if (request.pictures.empty()) images_.requests_.erase({client_, request_id});
    return InvalidArgument("the picture takes ", decoded_bytes, " bytes decoded, and ", num_others,
                           " other pictures of the request ", others,
                           ": the limit for a request is ", limit);
  }
  HeldImages::Request::Picture& picture = request.pictures[content_key];
  if (is_new) {
    picture.bytes = decoded_bytes;
    request.bytes += decoded_bytes;
  }
  ++picture.num_calls;
  request_id_ = request_id;
  content_key_ = content_key;
  return absl::OkStatus();
}

}  // namespace vl2
