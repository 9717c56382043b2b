// ChatServiceImpl: vl2.v1.ChatService on the sessions that HTTP uses too.
//
// Borrows the backend. Threading: thread-safe. Errors: statuses of the session; RESOURCE_EXHAUSTED
// beyond max_in_flight and for clients that do not read.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "gateway/session/chat_session.h"
#include "vl2/v1/chat.grpc.pb.h"

namespace vl2::gateway {

struct ChatServiceOptions {
  std::string model_name;
  SamplingChoice sampling;  // defaults of requests
  int64_t max_in_flight = 256;
  size_t max_waiting_events = 4096;  // for a client that reads slowly
  std::chrono::milliseconds request_timeout{600'000};
};

class ChatServiceImpl final : public v1::ChatService::CallbackService {
 public:
  // `info` asks the model services what they run.
  ChatServiceImpl(const ChatServiceOptions& options, const ChatBackend& backend,
                  std::function<absl::StatusOr<v1::ModelInfo>()> info)
      : options_(options), backend_(backend), info_(std::move(info)) {}

  grpc::ServerWriteReactor<v1::ChatEvent>* Chat(grpc::CallbackServerContext* context,
                                                const v1::ChatRequest* request) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* response) override;

  int64_t num_in_flight() const { return num_in_flight_; }

 private:
  absl::StatusOr<ChatTask> Admit(const grpc::CallbackServerContext& context,
                                 const v1::ChatRequest& request) const;

  const ChatServiceOptions options_;
  const ChatBackend backend_;
  const std::function<absl::StatusOr<v1::ModelInfo>()> info_;
  std::atomic<int64_t> num_in_flight_{0};
};

}  // namespace vl2::gateway
