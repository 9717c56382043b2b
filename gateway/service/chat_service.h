// ChatServiceImpl: vl2.v1.ChatService on the sessions that HTTP uses too.
//
// Clients are told apart as over HTTP (ClientIdentity; the metadata x-forwarded-for and forwarded
// count from trusted proxies), and share what there is in the same way (AdmissionController).
//
// Borrows the backend. Threading: thread-safe. Errors: statuses of the session; RESOURCE_EXHAUSTED
// beyond max_in_flight or max_held_bytes and for clients that do not read.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/metrics/gateway_metrics.h"
#include "gateway/session/admission_controller.h"
#include "gateway/session/api_keys.h"
#include "gateway/session/chat_session.h"
#include "gateway/session/client_identity.h"
#include "vl2/v1/chat.grpc.pb.h"

namespace vl2::gateway {

struct ChatServiceOptions {
  std::string model_name;
  SamplingChoice sampling;  // defaults of requests
  int64_t max_in_flight = 256;
  int64_t max_held_bytes = int64_t{1} << 30;  // of messages of requests in flight
  ApiKeys* keys = nullptr;                    // outlives the service; null: no authentication
  TrustedProxies trusted_proxies;
  size_t max_waiting_events = 4096;  // for a client that reads slowly
  std::chrono::milliseconds request_timeout{600'000};
  int64_t max_message_bytes = 0;  // as the server is set up; for clients to know
};

// Requests come as bytes, so that they are bounded before they are parsed (ParseBounded): a client
// may send messages of 64 MiB.
using RawChatService =
    v1::ChatService::WithRawCallbackMethod_Chat<v1::ChatService::WithRawCallbackMethod_GetModelInfo<
        v1::ChatService::WithRawCallbackMethod_GetClusterInfo<v1::ChatService::Service>>>;

class ChatServiceImpl final : public RawChatService {
 public:
  // Fields of a ChatRequest, those of its parts included.
  static constexpr int64_t kMaxRequestFields = int64_t{1} << 18;

  // `info` asks the model services what they run, `cluster` tells of all of them.
  ChatServiceImpl(const ChatServiceOptions& options, const ChatBackend& backend,
                  GatewayMetrics& metrics, std::function<absl::StatusOr<v1::ModelInfo>()> info,
                  std::function<v1::ClusterInfo()> cluster)
      : options_(options),
        backend_(backend),
        metrics_(metrics),
        info_(std::move(info)),
        cluster_(std::move(cluster)),
        admission_(options.max_in_flight, options.max_held_bytes) {
    metrics.Watch(Api::kGrpc, admission_);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Chat(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* request) override;
  // Requests without fields, which are not read.
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetClusterInfo(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;

  const AdmissionController& admission() const { return admission_; }

  // Ends all running chats with `status`.
  void EndAll(const absl::Status& status) { admission_.EndAll(status); }

 private:
  // The key that a call shows; none where none are asked for.
  absl::StatusOr<std::optional<ApiKey>> FindKey(const grpc::CallbackServerContext& context) const;
  absl::StatusOr<ChatTask> Admit(const grpc::CallbackServerContext& context,
                                 const grpc::ByteBuffer& request, const std::string& client,
                                 AdmissionController::Ticket& ticket) const;

  const ChatServiceOptions options_;
  const ChatBackend backend_;
  GatewayMetrics& metrics_;
  const std::function<absl::StatusOr<v1::ModelInfo>()> info_;
  const std::function<v1::ClusterInfo()> cluster_;
  AdmissionController admission_;
};

}  // namespace vl2::gateway
