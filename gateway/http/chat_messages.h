// ParseMessages: the field `messages` of a chat request.
//
// Texts are copied, together at most EncodeOptions::kDefaultMaxTextBytes; data URIs are decoded
// from where they stand in the document. Errors: INVALID_ARGUMENT whose ParamOf() is the field.
// Pure function.
#pragma once

#include "absl/status/status.h"
#include "gateway/http/chat_request.h"
#include "runtime/base/json_document.h"

namespace vl2::gateway {

// Adds messages and images to `request`. REQUIRES: both are empty in it.
absl::Status ParseMessages(JsonView messages, bool fetch_images, ChatRequest& request);

}  // namespace vl2::gateway
