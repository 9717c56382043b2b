// ServerScaffold: what every gRPC server of the project has: listeners, TLS, health
// (grpc.health.v1), reflection where it is wanted, limits, keepalive, and a drain that loses no
// answer.
//
//   TerminationSignal signal;                       // first thing in main
//   MetricsPort port;                               // opened before anything is loaded
//   auto server = ServerScaffold::Start(options, {&service}, port);
//   (*server)->SetServing(true);
//   signal.Wait();
//   (*server)->Drain();                             // then stop engines, destroy services
//
// Owns: the server. The metrics port, the services, and what they use, outlive Drain().
// Threading: thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "runtime/rpc/metrics_port.h"

namespace vl2 {

struct ServerOptions {
  std::string service_name = "";       // for the log and the port file, such as "lm_service"
  std::string listen = "127.0.0.1:0";  // host:port; port 0: any free one
  // Gets the line "listening <service> HOST:PORT metrics HOST:PORT" once both are open; empty:
  // none.
  std::string port_file = "";
  int64_t drain_timeout_ms = 30'000;             // for running calls, when draining
  int64_t max_message_bytes = int64_t{4} << 20;  // received
  int max_streams_per_connection = 1024;         // calls at a time
  // How old a connection gets before its client is asked to make a new one, so that its calls reach
  // servers that came later; running calls end undisturbed. 0: any age.
  int64_t max_connection_age_ms = 0;
  std::shared_ptr<grpc::ServerCredentials> credentials = nullptr;  // null: no TLS
  bool reflection = false;  // tells clients what services and messages there are

  // INVALID_ARGUMENT naming field, value and range.
  absl::Status Validate() const;
};

class ServerScaffold {
 public:
  // Listens at once, not serving yet as far as health checks hear. UNAVAILABLE when an address
  // cannot be bound (another process has it).
  static absl::StatusOr<std::unique_ptr<ServerScaffold>> Start(
      const ServerOptions& options, const std::vector<grpc::Service*>& services, MetricsPort& port);
  // Drains without patience when Drain was not called.
  ~ServerScaffold();

  // host:port as listened on, with the port in use.
  const std::string& address() const { return address_; }
  int port() const { return port_; }

  // What health checks and /readyz say.
  void SetServing(bool serving);

  // Not serving as far as others hear, but every call is served still: returns when no client is
  // connected any more, when every connection has reached max_connection_age_ms, or after
  // `timeout_ms`. A connection that is asked to close by its age loses no call; one that meets a
  // server that has been shut down does. Without an age: returns at once.
  void WaitForClientsToMove(int64_t timeout_ms);

  // Not serving; new calls are refused; running ones get drain_timeout_ms to finish and are then
  // cancelled. Returns when all have ended.
  void Drain();
  // The same with another patience.
  void Drain(int64_t timeout_ms);

 private:
  ServerScaffold(const ServerOptions& options, ServiceHealth& health)
      : options_(options), health_(health) {}

  const ServerOptions options_;
  ServiceHealth& health_;
  std::atomic<bool> drained_{false};
  std::string address_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace vl2
