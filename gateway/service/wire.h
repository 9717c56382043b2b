// Between the gateway's gRPC messages and the plain values of gateway/session.
//
// Pure functions. Errors: INVALID_ARGUMENT naming the field.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "gateway/session/chat_task.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::gateway {

// `defaults` fill the sampling fields that are not set. The task's deadline is left open.
absl::StatusOr<ChatTask> TaskOf(const v1::ChatRequest& request, const SamplingChoice& defaults);

// REQUIRES: `event` is no ChatEnd with an error.
std::optional<v1::ChatEvent> ToWire(const ChatEvent& event);

}  // namespace vl2::gateway
