#include "gateway/http/connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "boost/asio/experimental/awaitable_operators.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/this_coro.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/core/tcp_stream.hpp"
#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/parser.hpp"
#include "boost/beast/http/read.hpp"
#include "boost/beast/http/write.hpp"
#include "gateway/http/chat_exchange.h"
#include "gateway/http/chat_response.h"
#include "gateway/http/responses.h"
#include "gateway/http/web_page.h"
#include "openssl/crypto.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using Parser = http::request_parser<http::string_body>;

// Of requests that need no body.
constexpr uint64_t kMaxPlainBodyBytes = 4 << 10;

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

// Returns when the peer closes its side. Bytes that come instead (a request sent ahead) end the
// watch: a socket cannot be peeked beyond them.
asio::awaitable<void> UntilClientLeaves(beast::tcp_stream& stream) {
  error_code error;
  for (;;) {
    co_await stream.socket().async_wait(asio::ip::tcp::socket::wait_read,
                                        asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    char byte;
    const ssize_t num_bytes =
        ::recv(stream.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (num_bytes == 0) co_return;
    if (num_bytes < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) co_return;
    if (num_bytes > 0) break;
  }
  asio::steady_timer never(co_await asio::this_coro::executor,
                           asio::steady_timer::time_point::max());
  co_await never.async_wait(asio::redirect_error(asio::use_awaitable, error));
}

absl::Status RateLimited(std::string_view message) {
  return absl::ResourceExhaustedError(std::string(message));
}

class Connection {
 public:
  Connection(asio::ip::tcp::socket socket, std::shared_ptr<ServerState> state)
      : stream_(std::move(socket)), state_(std::move(state)) {}

  asio::awaitable<void> Run() {
    const Counted counted(&state_->num_connections);
    error_code ignored;
    stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    if (counted.count() > state_->options.max_connections) {
      Response refusal =
          Error(11, false,
                RateLimited(Cat("more than ", state_->options.max_connections, " connections")));
      co_await Write(refusal);
    } else {
      while (!state_->draining && co_await ServeOne()) {
      }
    }
    stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }

 private:
  // One request and its answer; true when another may follow.
  asio::awaitable<bool> ServeOne() {
    Parser parser;
    parser.header_limit(state_->options.max_header_bytes);
    parser.body_limit(state_->options.max_body_bytes);
    error_code error;
    stream_.expires_after(state_->options.idle_timeout);
    co_await http::async_read_header(stream_, buffer_, parser,
                                     asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::header_limit) {
      Response refusal = Error(11, false,
                               InvalidArgument("the request's header has more than ",
                                               state_->options.max_header_bytes, " bytes"));
      co_await Write(refusal);
      co_return false;
    }
    if (error == http::error::body_limit) co_return co_await RefuseBody(parser);
    if (error) {
      // Closed, silent for too long, or not HTTP.
      if (error.category() == http::make_error_code(http::error::bad_method).category() &&
          error != http::error::end_of_stream && error != http::error::partial_message) {
        Response refusal = Error(11, false, InvalidArgument("not HTTP: ", error.message()));
        co_await Write(refusal);
      }
      co_return false;
    }
    co_return co_await Dispatch(parser);
  }

  asio::awaitable<bool> Dispatch(Parser& parser) {
    const auto& request = parser.get();
    version_ = request.version();
    keep_alive_ = request.keep_alive() && !state_->draining;
    std::string_view path = View(request.target());
    path = path.substr(0, path.find('?'));
    const http::verb method = request.method();
    if (path == "/v1/chat/completions" && method == http::verb::post) {
      co_return co_await ServeChat(parser);
    }
    // No other request has a body to speak of.
    parser.body_limit(kMaxPlainBodyBytes);
    error_code error;
    co_await http::async_read(stream_, buffer_, parser,
                              asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::body_limit) co_return co_await RefuseBody(parser);
    if (error) co_return false;
    const bool head = method == http::verb::head;
    const bool get = method == http::verb::get || head;
    if (get && path == "/") {
      Response page = Reply(200, "text/html; charset=utf-8", std::string(WebPage()));
      page.set("Content-Security-Policy",
               "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
               "img-src data: blob:; connect-src 'self'");
      co_return co_await Write(page, head);
    }
    if (get && path == "/healthz") {
      Response reply = Reply(200, "text/plain", "ok\n");
      co_return co_await Write(reply, head);
    }
    if (get && path == "/readyz") {
      Response reply = Readiness();
      co_return co_await Write(reply, head);
    }
    if (get && path == "/v1/models") {
      const absl::Status allowed = Authorize(request);
      Response reply = allowed.ok() ? Models() : Error(version_, keep_alive_, allowed);
      co_return co_await Write(reply, head);
    }
    if (method == http::verb::options && !state_->options.cors_origin.empty()) {
      Response reply = Reply(204, "text/plain", "");
      reply.set(http::field::access_control_allow_methods, "GET, POST, OPTIONS");
      reply.set(http::field::access_control_allow_headers, "Authorization, Content-Type");
      co_return co_await Write(reply);
    }
    const bool known = path == "/" || path == "/healthz" || path == "/readyz" ||
                       path == "/v1/models" || path == "/v1/chat/completions";
    Response refusal = Error(version_, keep_alive_,
                             absl::NotFoundError(known ? "this address does not take that method"
                                                       : "there is nothing at this address"));
    if (known) {
      refusal.result(http::status::method_not_allowed);
      refusal.set(http::field::allow, path == "/v1/chat/completions" ? "POST" : "GET, HEAD");
    }
    Count(path, known ? 405 : 404);
    co_return co_await Write(refusal, head);
  }

  asio::awaitable<bool> ServeChat(Parser& parser) {
    // Decided before the body is read: a refused client must not cost memory.
    const Counted in_flight(&state_->num_in_flight);
    absl::Status admitted = Authorize(parser.get());
    if (admitted.ok() && in_flight.count() > state_->options.max_in_flight) {
      admitted = RateLimited(Cat("the server is at its limit of ", state_->options.max_in_flight,
                                 " requests in flight; try again"));
    }
    if (admitted.ok() && state_->draining) {
      admitted = absl::UnavailableError("the server is shutting down");
    }
    // The whole body at once where its length is told, so that no memory goes to half of one.
    ByteReservation held(&state_->body_bytes);
    const auto told = parser.content_length();
    if (admitted.ok() && told && !held.HoldAtLeast(static_cast<int64_t>(*told))) {
      admitted = BodiesFull();
    }
    if (!admitted.ok()) {
      Count("/v1/chat/completions", HttpStatusOf(admitted));
      co_return co_await RefuseUnread(admitted);
    }
    error_code error;
    if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      http::response<http::empty_body> go_on(http::status::continue_, version_);
      co_await http::async_write(stream_, go_on, asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return false;
    }
    while (!parser.is_done()) {
      stream_.expires_after(state_->options.idle_timeout);
      co_await http::async_read_some(stream_, buffer_, parser,
                                     asio::redirect_error(asio::use_awaitable, error));
      if (error == http::error::body_limit) co_return co_await RefuseBody(parser);
      if (error) co_return false;
      if (!held.HoldAtLeast(static_cast<int64_t>(parser.get().body().size()))) {
        co_return co_await RefuseUnread(BodiesFull());
      }
    }
    std::string body = std::move(parser.get().body());
    stream_.expires_never();
    using asio::experimental::awaitable_operators::operator||;
    const auto outcome =
        co_await (AnswerChat(stream_, state_, std::move(body), version_, keep_alive_, held) ||
                  UntilClientLeaves(stream_));
    const auto* result = std::get_if<ExchangeResult>(&outcome);
    Count("/v1/chat/completions", result != nullptr ? result->status : 499);
    co_return result != nullptr && result->keep_alive;
  }

  absl::Status BodiesFull() const {
    return RateLimited(Cat("the requests in flight hold ", state_->body_bytes.held(),
                           " bytes, the limit is ", state_->body_bytes.limit(), "; try again"));
  }

  absl::Status Authorize(const http::request<http::string_body>& request) const {
    const std::string& key = state_->options.api_key;
    if (key.empty()) return absl::OkStatus();
    constexpr std::string_view kBearer = "Bearer ";
    std::string_view given = View(request[http::field::authorization]);
    // The comparison's time must not tell how much of a guess was right.
    const bool matches = given.size() == kBearer.size() + key.size() &&
                         beast::iequals(beast::string_view(given.data(), kBearer.size()),
                                        beast::string_view(kBearer.data(), kBearer.size())) &&
                         CRYPTO_memcmp(given.data() + kBearer.size(), key.data(), key.size()) == 0;
    if (matches) return absl::OkStatus();
    return absl::UnauthenticatedError("the API key is missing or wrong");
  }

  Response Readiness() const {
    absl::Status ready = state_->ready();
    if (state_->draining) ready = absl::UnavailableError("shutting down");
    if (ready.ok()) return Reply(200, "text/plain", "ready\n");
    return Reply(503, "text/plain; charset=utf-8", Cat("not ready: ", Message(ready), "\n"));
  }

  Response Models() const {
    const Json models = {{"object", "list"},
                         {"data", Json::array({{{"id", state_->options.model_name},
                                                {"object", "model"},
                                                {"created", 0},
                                                {"owned_by", "vl2serve"}}})}};
    return Reply(200, "application/json", Dump(models));
  }

  Response Reply(int status, std::string_view type, std::string body) const {
    return MakeResponse(*state_, version_, keep_alive_, status, type, std::move(body));
  }
  Response Error(unsigned version, bool keep_alive, const absl::Status& error) const {
    return MakeErrorResponse(*state_, version, keep_alive, error);
  }

  asio::awaitable<bool> RefuseBody(Parser& parser) {
    Response response = Error(
        11, false,
        InvalidArgument("the request's body has more than ",
                        parser.get().method() == http::verb::post ? state_->options.max_body_bytes
                                                                  : kMaxPlainBodyBytes,
                        " bytes"));
    response.result(http::status::payload_too_large);
    co_await Write(response);
    co_await Linger();
    co_return false;
  }

  // A refusal before the body has been read: the rest of it would be taken for the next request.
  asio::awaitable<bool> RefuseUnread(const absl::Status& error) {
    Response refusal = Error(version_, false, error);
    co_await Write(refusal);
    co_await Linger();
    co_return false;
  }

  // Closing at once on unread bytes resets the connection, and the client might never see the
  // answer: read on for a moment.
  asio::awaitable<void> Linger() {
    error_code error;
    stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, error);
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    std::string sink(64 << 10, '\0');
    while (!error && std::chrono::steady_clock::now() < until) {
      stream_.expires_at(until);
      co_await stream_.async_read_some(asio::buffer(sink),
                                       asio::redirect_error(asio::use_awaitable, error));
    }
  }

  // By reference: GCC 12 destroys some temporaries of a co_await expression twice.
  asio::awaitable<bool> Write(Response& response, bool head = false) {
    error_code error;
    stream_.expires_after(std::chrono::seconds(30));
    if (head) response.body().clear();
    co_await http::async_write(stream_, response, asio::redirect_error(asio::use_awaitable, error));
    co_return !error && response.keep_alive();
  }

  void Count(std::string_view path, int status) const {
    const bool chat = path == "/v1/chat/completions";
    state_->metrics
        .Counter("vl2_gateway_http_requests_total", "HTTP requests answered",
                 {{"path", chat ? "/v1/chat/completions" : "other"}, {"code", Cat(status)}})
        .Add();
  }

  beast::tcp_stream stream_;
  const std::shared_ptr<ServerState> state_;
  beast::flat_buffer buffer_;
  unsigned version_ = 11;
  bool keep_alive_ = false;
};

}  // namespace

asio::awaitable<void> ServeConnection(asio::ip::tcp::socket socket,
                                      std::shared_ptr<ServerState> state) {
  // The libraries' exceptions end here.
  try {
    Connection connection(std::move(socket), std::move(state));
    co_await connection.Run();
  } catch (const std::exception& error) {
    Log(Severity::kWarning, "connection ended by an exception", {{"reason", error.what()}});
  }
}

}  // namespace vl2::gateway
