#include "runtime/rpc/server_scaffold.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/rpc/connection_count.h"
#include "runtime/rpc/host_port.h"
#include "runtime/rpc/port_file.h"

namespace vl2 {
namespace {

constexpr int kKeepaliveTimeMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kMinPingIntervalMs = 10'000;  // clients that ping more often are shut out

void SetChannelArguments(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  if (options.max_connection_age_ms > 0) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                               static_cast<int>(options.max_connection_age_ms));
  }
  // A second server on the same port would take half of the calls without anybody noticing.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Peers that vanish without a word (a lost node) are noticed, so that their sequences end.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
}

// The library of reflection adds itself to every server of a program that is linked with it.
class NoReflection : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins,
                  [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

}  // namespace

absl::Status ServerOptions::Validate() const {
  VL2_RETURN_IF_ERROR(ParseHostPort(listen));
  if (drain_timeout_ms < 0 || drain_timeout_ms > 3'600'000) {
    return InvalidArgument("drain_timeout_ms ", drain_timeout_ms, " is outside [0, 3600000]");
  }
  if (max_message_bytes < 1 || max_message_bytes > std::numeric_limits<int>::max()) {
    return InvalidArgument("max_message_bytes ", max_message_bytes, " is outside [1, 2^31 - 1]");
  }
  if (max_connection_age_ms < 0 || max_connection_age_ms > 86'400'000) {
    return InvalidArgument("max_connection_age_ms ", max_connection_age_ms,
                           " is outside [0, 86400000]");
  }
  if (max_streams_per_connection < 1) {
    return InvalidArgument("max_streams_per_connection ", max_streams_per_connection,
                           " must be at least 1");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ServerScaffold>> ServerScaffold::Start(
    const ServerOptions& options, const std::vector<grpc::Service*>& services, MetricsPort& port) {
  VL2_RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<ServerScaffold> scaffold(new ServerScaffold(options, port.health()));
  static const bool plugins = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)plugins;
  grpc::ServerBuilder builder;
  SetChannelArguments(options, builder);
  if (!options.reflection) builder.SetOption(std::make_unique<NoReflection>());
  builder.AddListeningPort(
      options.listen,
      options.credentials != nullptr ? options.credentials : grpc::InsecureServerCredentials(),
      &scaffold->port_);
  for (grpc::Service* service : services) builder.RegisterService(service);
  scaffold->server_ = builder.BuildAndStart();
  if (scaffold->server_ == nullptr || scaffold->port_ == 0) {
    return absl::UnavailableError(Cat("cannot listen on ", options.listen));
  }
  scaffold->server_->GetHealthCheckService()->SetServingStatus(false);
  VL2_ASSIGN_OR_RETURN(HostPort address, ParseHostPort(options.listen));
  address.port = scaffold->port_;
  scaffold->address_ = address.ToString();
  const std::string line = Cat("listening ", options.service_name, " ", scaffold->address_,
                               " metrics ", port.address().empty() ? "-" : port.address());
  VL2_RETURN_IF_ERROR(WritePortFile(options.port_file, line));
  Log(Severity::kInfo, line);
  return scaffold;
}

ServerScaffold::~ServerScaffold() {
  if (server_ != nullptr) Drain(0);
}

void ServerScaffold::SetServing(bool serving) {
  if (serving) health_.SetState(ServiceHealth::State::kServing);
  if (!serving && health_.state() == ServiceHealth::State::kServing) {
    health_.SetState(ServiceHealth::State::kDraining);
  }
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void ServerScaffold::WaitForClientsToMove(int64_t timeout_ms) {
  SetServing(false);
  if (options_.max_connection_age_ms == 0) return;
  // gRPC ages differ by a tenth, so that clients do not move all at once.
  const int64_t longest_age_ms = options_.max_connection_age_ms * 11 / 10 + 1000;
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::milliseconds(std::min(longest_age_ms, timeout_ms));
  while (std::chrono::steady_clock::now() < until && CountConnections(port_) > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void ServerScaffold::Drain() { Drain(options_.drain_timeout_ms); }

void ServerScaffold::Drain(int64_t timeout_ms) {
  if (drained_.exchange(true)) return;
  SetServing(false);
  Log(Severity::kInfo, Cat("draining ", options_.service_name), {{"timeout_ms", timeout_ms}});
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms));
  server_->Wait();
  Log(Severity::kInfo, Cat("drained ", options_.service_name));
}

}  // namespace vl2
