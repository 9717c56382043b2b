// SessionObserver: hears what happens to chat sessions, for metrics.
//
// Threading: called from any thread, by many sessions at a time; must be short.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace vl2::gateway {

// How far a request had come when it ended.
enum class ChatStage { kWaiting, kEncoding, kPrefill, kDecode };

class SessionObserver {
 public:
  virtual ~SessionObserver() = default;
  // Since the request's arrival.
  virtual void OnFirstToken(double seconds) = 0;
  // Between two events with tokens of one answer.
  virtual void OnTokenGap(double seconds) = 0;
  // A replica of `service` ("language", "vision") was lost or full, and another attempt follows.
  virtual void OnRetry(const char* service, const absl::Status& status) = 0;
  // An answer that had begun goes on at another replica.
  virtual void OnResumed() = 0;
  virtual void OnImages(int64_t num_images) = 0;
  // The last call of a session.
  virtual void OnEnd(const absl::Status& status, ChatStage stage, int64_t prompt_tokens,
                     int64_t generated_tokens) = 0;
};

}  // namespace vl2::gateway
