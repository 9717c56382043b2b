#include "gateway/http/http_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "boost/asio/co_spawn.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/strand.hpp"
#include "boost/asio/this_coro.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "gateway/http/connection.h"
#include "gateway/http/server_state.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2::gateway {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto kAcceptPause = std::chrono::milliseconds(10);
constexpr auto kWarningInterval = std::chrono::seconds(10);
// For the last words to requests that the end of a drain cuts off.
constexpr auto kGoodbye = std::chrono::seconds(2);

}  // namespace

absl::Status HttpOptions::Validate() const {
  VL2_RETURN_IF_ERROR(ParseHostPort(listen));
  const auto check = [](const char* name, auto value, auto low, auto high) {
    if (value >= low && value <= high) return absl::OkStatus();
    return InvalidArgument(name, " ", value, " is outside [", low, ", ", high, "]");
  };
  VL2_RETURN_IF_ERROR(check("num_threads", num_threads, 1, 64));
  VL2_RETURN_IF_ERROR(check("num_parse_threads", num_parse_threads, 1, 64));
  VL2_RETURN_IF_ERROR(check("max_connections", max_connections, int64_t{1}, int64_t{1} << 20));
  VL2_RETURN_IF_ERROR(check("max_in_flight", max_in_flight, int64_t{1}, int64_t{1} << 20));
  VL2_RETURN_IF_ERROR(
      check("max_body_bytes", max_body_bytes, uint64_t{1} << 10, uint64_t{1} << 30));
  VL2_RETURN_IF_ERROR(check("max_held_body_bytes", max_held_body_bytes,
                            static_cast<int64_t>(max_body_bytes), int64_t{1} << 40));
  VL2_RETURN_IF_ERROR(check("image_url_timeout ms", fetch.timeout.count(), 1L, 600'000L));
  VL2_RETURN_IF_ERROR(check("body_timeout ms", body_timeout.count(), 1L, 86'400'000L));
  VL2_RETURN_IF_ERROR(check("body_grace ms", body_grace.count(), 1L, 86'400'000L));
  VL2_RETURN_IF_ERROR(check("min_body_rate", min_body_rate, int64_t{1}, int64_t{1} << 30));
  VL2_RETURN_IF_ERROR(check("request_timeout ms", request_timeout.count(), 1L, 86'400'000L));
  if (model_name.empty()) return InvalidArgument("model_name is empty");
  return absl::OkStatus();
}

struct HttpServer::Parts {
  Parts(const HttpOptions& options, const ChatBackend& backend, GatewayMetrics& metrics,
        std::function<absl::Status()> pools)
      : state(std::make_shared<ServerState>(options, backend, metrics, std::move(pools))),
        acceptor(asio::make_strand(io)),
        departures(io.get_executor()) {
    state->departures = &departures;
    KeepSpare();
  }
  ~Parts() {
    if (spare >= 0) ::close(spare);
  }

  asio::awaitable<void> Accept() {
    error_code error;
    acceptor.non_blocking(true, error);
    for (;;) {
      // Without a descriptor to give, accept fails also when nobody is there: so it is called only
      // when somebody is.
      co_await acceptor.async_wait(tcp::acceptor::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
      if (!acceptor.is_open()) co_return;
      tcp::socket socket(asio::make_strand(io));
      acceptor.accept(socket, error);
      // Somebody else's, or gone again.
      if (error == asio::error::would_block || error == asio::error::try_again ||
          error == asio::error::connection_aborted) {
        continue;
      }
      if (error) {
        WarnOfFailure(error);
        // Out of descriptors, most likely. One that waits for nothing comes back at once; without
        // such a one the newcomer is told.
        if (!state->idle.CloseOldest()) RefuseOne();
        asio::steady_timer pause(co_await asio::this_coro::executor, kAcceptPause);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
        continue;
      }
      const auto executor = socket.get_executor();
      asio::co_spawn(executor, ServeConnection(std::move(socket), state), asio::detached);
    }
  }

  void WarnOfFailure(const error_code& error) {
    const auto now = std::chrono::steady_clock::now();
    ++failures;
    if (now < next_warning) return;
    next_warning = now + kWarningInterval;
    Log(Severity::kWarning, "cannot accept a connection",
        {{"reason", error.message()}, {"failures", failures}});
  }

  // Takes the next connection with the descriptor kept for this, says why it cannot be served, and
  // closes it.
  void RefuseOne() {
    if (spare < 0) return;
    ::close(std::exchange(spare, -1));
    const int socket =
        ::accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket >= 0) {
      constexpr std::string_view kBody =
          "{\"error\":{\"message\":\"the server has no descriptor left; try again\","
          "\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";
      const std::string text =
          Cat("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
              "Retry-After: 1\r\nConnection: close\r\nContent-Length: ",
              kBody.size(), "\r\n\r\n", kBody);
      [[maybe_unused]] const ssize_t sent =
          ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      ::shutdown(socket, SHUT_WR);
      ::close(socket);
    }
    KeepSpare();
  }
  void KeepSpare() { spare = ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

  absl::Status Listen(const std::string& listen) {
    VL2_ASSIGN_OR_RETURN(HostPort where, ParseHostPort(listen));
    error_code error;
    tcp::resolver resolver(io);
    const auto found =
        resolver.resolve(where.host, std::to_string(where.port), tcp::resolver::passive, error);
    if (error || found.empty()) {
      return absl::UnavailableError(Cat("cannot listen on ", listen, ": ", error.message()));
    }
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(1024, error);
    if (error) {
      return absl::UnavailableError(Cat("cannot listen on ", listen, ": ", error.message()));
    }
    where.port = acceptor.local_endpoint().port();
    address = where.ToString();
    return absl::OkStatus();
  }

  void Stop() {
    io.stop();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
    state->parse_threads.join();
    state->fetcher.Shutdown();
  }

  // Destroyed first to last declared, backwards: coroutines, which hold the state, go with io.
  std::shared_ptr<ServerState> state;
  asio::io_context io;
  tcp::acceptor acceptor;
  DepartureWatch departures;
  int spare = -1;  // a descriptor kept for refusing
  int64_t failures = 0;
  std::chrono::steady_clock::time_point next_warning{};
  std::string address;
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

HttpServer::~HttpServer() { parts_->Stop(); }

const std::string& HttpServer::address() const { return parts_->address; }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options,
                                                              const ChatBackend& backend,
                                                              GatewayMetrics& metrics,
                                                              std::function<absl::Status()> pools) {
  VL2_RETURN_IF_ERROR(options.Validate());
  auto parts = std::make_unique<Parts>(options, backend, metrics, std::move(pools));
  VL2_RETURN_IF_ERROR(parts->Listen(options.listen));
  metrics.Watch(Api::kHttp, parts->state->admission);
  metrics.metrics().AddSource([state = parts->state.get()](MetricSamples& samples) {
    const auto gauge = [&](const char* name, const char* help, int64_t value) {
      samples.Gauge(name, help, static_cast<double>(value));
    };
    gauge("vl2_gateway_connections", "Open HTTP connections.", state->num_connections);
    gauge("vl2_gateway_connections_limit", "HTTP connections at most.",
          state->options.max_connections);
    gauge("vl2_gateway_idle_connections", "HTTP connections that wait for a request.",
          state->idle.count());
    gauge("vl2_gateway_parse_queue", "Chat requests over HTTP that wait to be parsed.",
          state->num_waiting_parses);
    gauge("vl2_gateway_parse_queue_limit", "These at most.", state->options.max_in_flight);
    gauge("vl2_gateway_name_lookups", "Host names of images being looked up.",
          state->fetcher.num_lookups());
    gauge("vl2_gateway_name_lookups_limit", "These at most.", NameResolver::kMaxLookups);
  });
  asio::co_spawn(parts->acceptor.get_executor(), parts->Accept(), asio::detached);
  for (int i = 0; i < options.num_threads; ++i) {
    parts->threads.emplace_back([io = &parts->io] { io->run(); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(parts)));
}

void HttpServer::Drain(std::chrono::milliseconds timeout) {
  ServerState& state = *parts_->state;
  state.draining = true;
  asio::post(parts_->acceptor.get_executor(), [acceptor = &parts_->acceptor] {
    error_code ignored;
    acceptor->close(ignored);
  });
  const auto is_busy = [&state] {
    return state.admission.num_in_flight() > 0 || state.admission.num_reading() > 0;
  };
  const auto wait_until = [&is_busy](std::chrono::steady_clock::time_point until) {
    while (is_busy() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  };
  wait_until(std::chrono::steady_clock::now() + timeout);
  if (is_busy()) {
    state.admission.EndAll(ShuttingDown());
    wait_until(std::chrono::steady_clock::now() + kGoodbye);
  }
  parts_->Stop();
}

}  // namespace vl2::gateway
