// The two model services as a chat session sees them. Implemented over gRPC in gateway/upstream,
// and by fakes in tests.
//
// Threading: everything here is called from any thread; sinks are called one event at a time, and
// never from within the call that was given them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateway/session/chat_task.h"

namespace vl2::gateway {

// ---- Vision ----

struct ImageLayout {
  int64_t width = 0;  // pixels as the user sees them
  int64_t height = 0;
  int tiles_wide = 0;
  int tiles_high = 0;
  int64_t num_embeddings = 0;
};
struct ImageKey {
  std::string key;
  bool cached = false;
};
struct ImageProgress {
  int encoded_tiles = 0;
  int num_tiles = 0;
  int reused_tiles = 0;  // of the encoded ones
};
struct ImageDelivered {
  uint64_t delivery_id = 0;  // EncodeTarget's
  absl::Status status;
  double encode_ms = 0;
};
// The last event of a stream.
struct ImageClosed {
  absl::Status status;
};
using ImageEvent = std::variant<ImageLayout, ImageKey, ImageProgress, ImageDelivered, ImageClosed>;
using ImageSink = std::function<void(ImageEvent)>;

struct ImageRequest {
  std::string model_id;  // of the pool; empty: any
  // Replicas that compute the same bits, as ImageStream::pool(); empty: any. A picture whose key is
  // known goes on inside its own.
  std::string pool;
  std::string request_id;
  std::string client_id;
  int priority = 0;
  TaskImage image;  // kPublishedRule resolved by the caller
  Clock::time_point deadline;
  // Replicas that have failed already; used only when no other is left.
  std::vector<std::string> avoid;
  TracePoint trace = {};   // the call's span begins below it
  TraceContext lost = {};  // the call that this one takes the place of
};

struct EncodeTarget {
  uint64_t delivery_id = 0;
  int64_t first_embedding = 0;
  std::string address;
  uint64_t sequence_id = 0;
  int slot = 0;
  std::string upload_token;
};

// One picture at one replica.
class ImageStream {
 public:
  virtual ~ImageStream() = default;
  virtual const std::string& replica() const = 0;
  virtual const std::string& pool() const = 0;
  // The call's span.
  virtual TraceContext trace() const { return {}; }
  // Starts encoding in expectation of a delivery.
  virtual void Prepare() = 0;
  virtual void Deliver(const EncodeTarget& target) = 0;
  // No more deliveries will be asked for; those under way go on.
  virtual void Close() = 0;
  virtual void Cancel() = 0;
};

class VisionUpstream {
 public:
  virtual ~VisionUpstream() = default;
  // Errors: UNAVAILABLE when there is no replica.
  virtual absl::StatusOr<std::shared_ptr<ImageStream>> Open(const ImageRequest& request,
                                                            ImageSink sink) = 0;
};

// ---- Language ----

struct PromptImage {
  std::string content_key;
  int64_t num_embeddings = 0;
};
using PromptSegment = std::variant<std::vector<int32_t>, PromptImage>;

struct GenerateCall {
  std::string model_id;  // of the pool; empty: any
  // Replicas that compute the same bits, as GenerateStream::pool(); empty: any. A begun answer goes
  // on among them alone.
  std::string pool;
  std::string request_id;
  std::shared_ptr<const std::vector<PromptSegment>> segments;
  std::vector<int32_t> generated_prefix;
  int num_samples = 1;
  SamplingChoice sampling;
  int64_t max_new_tokens = 0;
  std::vector<int32_t> stop_token_ids;
  bool ignore_end_token = false;
  std::string cache_salt;
  std::string client_id;
  int priority = 0;
  int32_t image_token_id = 0;
  Clock::time_point deadline;
  // Requests with equal values like the same replica, where their prefix is cached.
  uint64_t affinity = 0;
  std::vector<std::string> avoid;
  TracePoint trace = {};   // the call's span begins below it
  TraceContext lost = {};  // the call that this one takes the place of
};

struct GenerateAccepted {
  uint64_t sequence_id = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  std::string address;  // where uploads go
};
struct GenerateSlotNeeded {
  int slot = 0;
  int64_t first_embedding = 0;
  std::string upload_token;
};
struct GeneratePrefill {
  int64_t done_tokens = 0;
  int64_t prompt_tokens = 0;
};
struct GenerateTokens {
  int sample = 0;
  std::vector<AnswerToken> tokens;
};
struct GenerateSampleEnd {
  int sample = 0;
  FinishReason reason = FinishReason::kStop;
};
// The last event of a stream. OK only after the service said that all samples have ended.
struct GenerateClosed {
  absl::Status status;
};
using GenerateEvent = std::variant<GenerateAccepted, GenerateSlotNeeded, GeneratePrefill,
                                   GenerateTokens, GenerateSampleEnd, GenerateClosed>;
using GenerateSink = std::function<void(GenerateEvent)>;

class GenerateStream {
 public:
  virtual ~GenerateStream() = default;
  virtual const std::string& replica() const = 0;
  virtual const std::string& pool() const = 0;
  // The call's span.
  virtual TraceContext trace() const { return {}; }
  virtual void Cancel() = 0;
};

class LanguageUpstream {
 public:
  virtual ~LanguageUpstream() = default;
  // Tokens of prompt and answer together; 0: not known yet.
  virtual int64_t max_context_tokens(const std::string& model_id) const = 0;
  virtual absl::StatusOr<std::shared_ptr<GenerateStream>> Generate(const GenerateCall& call,
                                                                   GenerateSink sink) = 0;
};

}  // namespace vl2::gateway
