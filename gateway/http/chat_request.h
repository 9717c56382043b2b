// ParseChatRequest: the JSON body of POST /v1/chat/completions as a ChatTask.
//
// Unknown fields are tolerated; what would change the answer and is not supported (tools, audio,
// other response formats) is refused. Extensions: top_k, min_p,
// repetition_penalty, stop_token_ids, ignore_eos; on an image_url part `tiling`:
// {"max_tiles": n} or {"tiles_wide": w, "tiles_high": h}, and `policy`: "serving" or "published".
//
// Errors: INVALID_ARGUMENT whose ParamOf() is the field; what they repeat of the body is short.
//
// Limits: kMaxRequestNodes values and keys, 32 levels. Time is linear in the body. Memory is the
// body, which is given up before the call returns, the texts and images of the task, and at most
// 24 MiB. Pure function.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/session/chat_task.h"

namespace vl2::gateway {

// More than ChatTemplateOptions::kMaxParts parts have.
inline constexpr size_t kMaxRequestNodes = size_t{1} << 19;

struct RequestDefaults {
  std::string model_name;
  SamplingChoice sampling;
  size_t max_body_bytes = size_t{64} << 20;
  uint64_t seed = 0;          // when the request has none
  bool fetch_images = false;  // pictures may be named by http(s) address
};

// A picture that is still to be fetched: its bytes are missing in the task.
struct RemoteImage {
  size_t index = 0;  // in ChatTask::images
  std::string address;
  std::string param;
};

struct ChatRequest {
  ChatTask task;
  bool stream = false;
  bool include_usage = false;
  std::vector<RemoteImage> remote_images;
};

absl::StatusOr<ChatRequest> ParseChatRequest(std::string body, const RequestDefaults& defaults);

}  // namespace vl2::gateway
