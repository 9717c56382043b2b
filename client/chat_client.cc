#include "client/chat_client.h"

#include <algorithm>

#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"
#include "runtime/rpc/grpc_status.h"
#include "vl2/v1/chat.grpc.pb.h"

namespace vl2::client {
namespace {

using SystemClock = std::chrono::system_clock;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server,
                                           const std::string& tls_roots) {
  grpc::ChannelArguments arguments;
  // The address that was given, never a proxy's settings in the environment.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A server that vanishes without a word is noticed.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  const auto credentials =
      tls_roots.empty()
          ? grpc::InsecureChannelCredentials()
          : grpc::SslCredentials(
                {.pem_root_certs = tls_roots, .pem_private_key = "", .pem_cert_chain = ""});
  return grpc::CreateCustomChannel(server, credentials, arguments);
}

}  // namespace

struct ChatClient::State {
  State(const std::string& address, const std::string& key, const std::string& tls_roots)
      : server(address),
        key(key),
        channel(MakeChannel(address, tls_roots)),
        stub(v1::ChatService::NewStub(channel)) {}

  bool IsCancelled() {
    MutexLock lock(&mutex);
    return cancelled;
  }
  absl::Status Connect(SystemClock::time_point deadline);

  const std::string server;
  const std::string key;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::ChatService::Stub> stub;
  Mutex mutex;
  bool cancelled ABSL_GUARDED_BY(mutex) = false;
  bool busy ABSL_GUARDED_BY(mutex) = false;  // a call is under way, connecting included
  grpc::ClientContext* context ABSL_GUARDED_BY(mutex) = nullptr;
};

// A call that is under way, for Cancel.
class ChatClient::Call {
 public:
  Call(State& state, SystemClock::time_point deadline) : state_(state) {
    context_.set_deadline(deadline);
    if (!state.key.empty()) context_.AddMetadata("authorization", "Bearer " + state.key);
    MutexLock lock(&state_.mutex);
    state_.busy = true;
    state_.context = &context_;
    if (state_.cancelled) context_.TryCancel();
  }
  ~Call() {
    MutexLock lock(&state_.mutex);
    state_.busy = false;
    state_.context = nullptr;
  }
  grpc::ClientContext& context() { return context_; }

 private:
  State& state_;
  grpc::ClientContext context_;
};

// Says what is wrong in words of its own, and does not wait for a server that refuses.
absl::Status ChatClient::State::Connect(SystemClock::time_point deadline) {
  constexpr std::chrono::milliseconds kLook{50};
  const auto patience = SystemClock::now() + kConnectTimeout;
  for (;;) {
    if (IsCancelled()) return absl::CancelledError("cancelled");
    const grpc_connectivity_state now = channel->GetState(/*try_to_connect=*/true);
    if (now == GRPC_CHANNEL_READY) return absl::OkStatus();
    if (SystemClock::now() >= deadline) {
      return absl::DeadlineExceededError(Cat("not connected to ", server));
    }
    if (now == GRPC_CHANNEL_TRANSIENT_FAILURE || SystemClock::now() >= patience) {
      return absl::UnavailableError(
          Cat("cannot connect to ", server,
              "; is that the gRPC address of a running gateway? (--server, VL2_SERVER; --tls_ca "
              "where it has TLS)"));
    }
    channel->WaitForStateChange(now, std::min(deadline, SystemClock::now() + kLook));
  }
}

ChatClient::ChatClient(const std::string& server, const std::string& key,
                       const std::string& tls_roots)
    : state_(std::make_unique<State>(server, key, tls_roots)) {}

ChatClient::~ChatClient() = default;

absl::Status ChatClient::Ask(const v1::ChatRequest& request, std::chrono::milliseconds timeout,
                             const Sink& sink) {
  const auto deadline = SystemClock::now() + timeout;
  Call call(*state_, deadline);
  VL2_RETURN_IF_ERROR(state_->Connect(deadline));
  const auto reader = state_->stub->Chat(&call.context(), request);
  absl::Status taken;
  for (v1::ChatEvent event; taken.ok() && reader->Read(&event);) {
    taken = sink(event);
    if (!taken.ok()) call.context().TryCancel();
  }
  const absl::Status ended = GrpcToStatus(reader->Finish());
  return taken.ok() ? ended : taken;
}

absl::StatusOr<v1::ClusterInfo> ChatClient::GetClusterInfo(std::chrono::milliseconds timeout) {
  const auto deadline = SystemClock::now() + timeout;
  Call call(*state_, deadline);
  VL2_RETURN_IF_ERROR(state_->Connect(deadline));
  v1::ClusterInfo info;
  VL2_RETURN_IF_ERROR(GrpcToStatus(state_->stub->GetClusterInfo(&call.context(), {}, &info)));
  return info;
}

bool ChatClient::Cancel() {
  MutexLock lock(&state_->mutex);
  state_->cancelled = true;
  if (state_->context != nullptr) state_->context->TryCancel();
  return state_->busy;
}

}  // namespace vl2::client
