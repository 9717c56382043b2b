#include "runtime/rpc/metrics_listener.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "civetweb.h"
#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2 {
namespace {

// A connection holds a thread until its request has come. Liveness probes must not wait behind some
// that say nothing (a browser opens such in advance), or the service is ended in good health.
constexpr char kNumThreads[] = "16";
constexpr char kTimeoutMs[] = "2000";

// The web server takes numeric addresses only, and not all builds of it know version 6.
absl::StatusOr<std::vector<std::string>> NumericAddresses(const HostPort& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(Cat("cannot resolve ", address.host, ": ", gai_strerror(error)));
  }
  std::vector<std::string> numeric;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    char host[NI_MAXHOST];
    if (getnameinfo(each->ai_addr, each->ai_addrlen, host, sizeof(host), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      numeric.push_back(HostPort{host, address.port}.ToString());
    }
  }
  freeaddrinfo(found);
  return numeric;
}

void Send(mg_connection* connection, std::string_view status, std::string_view type,
          const std::string& body) {
  const std::string head =
      Cat("HTTP/1.1 ", status, "\r\nContent-Type: ", type, "\r\nContent-Length: ", body.size(),
          "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  mg_write(connection, body.data(), body.size());
}

int SendHealth(mg_connection* connection, const absl::Status& status, const char* good) {
  if (status.ok()) {
    Send(connection, "200 OK", "text/plain", Cat(good, "\n"));
    return 200;
  }
  Send(connection, "503 Service Unavailable", "text/plain",
       Cat("not ", good, ": ", Message(status), "\n"));
  return 503;
}

// Connects and leaves.
void Knock(const std::string& address) {
  const auto where = ParseHostPort(address);
  if (!where.ok()) return;
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(where->port);
  if (getaddrinfo(where->host.c_str(), port.c_str(), &hints, &found) != 0) return;
  const int knock = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (knock >= 0) {
    (void)connect(knock, found->ai_addr, found->ai_addrlen);
    close(knock);
  }
  freeaddrinfo(found);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsListener>> MetricsListener::Start(
    const std::string& listen, const Metrics& metrics, const ServiceHealth& health) {
  VL2_ASSIGN_OR_RETURN(HostPort address, ParseHostPort(listen));
  VL2_ASSIGN_OR_RETURN(const std::vector<std::string> addresses, NumericAddresses(address));
  std::unique_ptr<MetricsListener> listener(new MetricsListener(metrics, health));
  for (const std::string& numeric : addresses) {
    const char* options[] = {"listening_ports",    numeric.c_str(), "num_threads", kNumThreads,
                             "request_timeout_ms", kTimeoutMs,      nullptr};
    const mg_callbacks callbacks = {};
    listener->context_ = mg_start(&callbacks, nullptr, options);
    if (listener->context_ != nullptr) break;
  }
  if (listener->context_ == nullptr) {
    return absl::UnavailableError(Cat("cannot listen on ", listen, " for metrics"));
  }
  mg_set_request_handler(listener->context_, "/", &MetricsListener::Answer, listener.get());
  mg_server_port port = {};
  if (mg_get_server_ports(listener->context_, 1, &port) != 1) {
    return absl::UnavailableError(Cat("no port is open on ", listen, " for metrics"));
  }
  address.port = port.port;
  listener->address_ = address.ToString();
  return listener;
}

MetricsListener::~MetricsListener() {
  if (context_ == nullptr) return;
  std::atomic<bool> stopped{false};
  std::thread stop([&] {
    mg_stop(context_);
    stopped = true;
  });
  // The web server looks at its stop flag every two seconds, or when somebody knocks.
  while (!stopped) {
    Knock(address_);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  stop.join();
}

int MetricsListener::Answer(mg_connection* connection, void* self) {
  const auto& listener = *static_cast<const MetricsListener*>(self);
  const mg_request_info* const request = mg_get_request_info(connection);
  const std::string_view method = request->request_method;
  const std::string_view path = request->local_uri;
  if (method != "GET") {
    Send(connection, "405 Method Not Allowed", "text/plain", "only GET\n");
    return 405;
  }
  if (path == "/metrics") {
    Send(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8",
         listener.metrics_.Text());
    return 200;
  }
  if (path == "/livez" || path == "/healthz") {
    return SendHealth(connection, listener.health_.Live(), "alive");
  }
  if (path == "/readyz") return SendHealth(connection, listener.health_.Ready(), "ready");
  Send(connection, "404 Not Found", "text/plain", "see /metrics, /livez and /readyz\n");
  return 404;
}

}  // namespace vl2
