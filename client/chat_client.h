// ChatClient: calls to a gateway's ChatService. The only part of the client that knows gRPC.
//
// Owns: the connection. Threading: one thread calls; Cancel may come from any other.
// Errors: the server's codes; UNAVAILABLE when no connection is there within kConnectTimeout;
// DEADLINE_EXCEEDED; CANCELLED after Cancel.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vl2/v1/chat.pb.h"

namespace vl2::client {

class ChatClient {
 public:
  static constexpr std::chrono::seconds kConnectTimeout{5};
  using Sink = std::function<absl::Status(const v1::ChatEvent&)>;

  // `server`: host:port.
  // `key` is shown with every call; empty: none.
  // `tls_roots`: CAs of the server's certificate, in PEM; empty: no TLS.
  explicit ChatClient(const std::string& server, const std::string& key = "",
                      const std::string& tls_roots = "");
  ~ChatClient();

  // Calls `sink` for every event as it comes. An error of the sink ends the call with that error.
  absl::Status Ask(const v1::ChatRequest& request, std::chrono::milliseconds timeout,
                   const Sink& sink);
  absl::StatusOr<v1::ClusterInfo> GetClusterInfo(std::chrono::milliseconds timeout);

  // Ends the call under way and all later ones. False when none is under way.
  bool Cancel();

 private:
  class Call;
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace vl2::client
