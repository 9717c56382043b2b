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
  int64_t max_message_bytes = 0;  // as the server is set up; for clients to know
};

class ChatServiceImpl final : public v1::ChatService::CallbackService {
 public:
  // `info` asks the model services what they run, `cluster` tells of all of them.
  ChatServiceImpl(const ChatServiceOptions& options, const ChatBackend& backend,
                  std::function<absl::StatusOr<v1::ModelInfo>()> info,
                  std::function<v1::ClusterInfo()> cluster)
      : options_(options),
        backend_(backend),
        info_(std::move(info)),
        cluster_(std::move(cluster)) {}

  grpc::ServerWriteReactor<v1::ChatEvent>* Chat(grpc::CallbackServerContext* context,
                                                const v1::ChatRequest* request) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* response) override;
  grpc::ServerUnaryReactor* GetClusterInfo(grpc::CallbackServerContext* context,
                                           const v1::GetClusterInfoRequest* request,
                                           v1::ClusterInfo* response) override;

  int64_t num_in_flight() const { return num_in_flight_; }

 private:
  absl::StatusOr<ChatTask> Admit(const grpc::CallbackServerContext& context,
                                 const v1::ChatRequest& request) const;

  const ChatServiceOptions options_;
  const ChatBackend backend_;
  const std::function<absl::StatusOr<v1::ModelInfo>()> info_;
  const std::function<v1::ClusterInfo()> cluster_;
  std::atomic<int64_t> num_in_flight_{0};
};

}  // namespace vl2::gateway
