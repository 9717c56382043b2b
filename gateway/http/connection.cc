#include "gateway/http/connection.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "boost/asio/post.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/parser.hpp"
#include "boost/beast/http/read.hpp"
#include "boost/beast/http/write.hpp"
#include "gateway/http/chat_exchange.h"
#include "gateway/http/chat_response.h"
#include "gateway/http/growing_body.h"
#include "gateway/http/request_head.h"
#include "gateway/http/responses.h"
#include "gateway/http/socket_deadline.h"
#include "gateway/http/web_page.h"
#include "gateway/session/client_identity.h"
#include "gateway/session/public_error.h"
#include "gateway/session/request_id.h"
#include "openssl/crypto.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Parser = http::request_parser<GrowingBody>;

// Of requests that need no body.
constexpr uint64_t kMaxPlainBodyBytes = 4 << 10;
// Empty lines before a request line that are passed over (RFC 9112, 2.2, asks for one).
constexpr int kMaxEmptyLines = 4;
constexpr auto kPlainWriteTimeout = std::chrono::seconds(30);
constexpr auto kLinger = std::chrono::seconds(2);

constexpr char kChatPath[] = "/v1/chat/completions";

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

// What nobody waits for any more.
absl::Status ClientLeft() { return absl::CancelledError("the client has left"); }

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::shared_ptr<ServerState> state)
      : socket_(std::move(socket)), deadline_(socket_), state_(std::move(state)) {}

  asio::awaitable<void> Run() {
    const Counted counted(&state_->num_connections);
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    peer_ = socket_.remote_endpoint(ignored).address();
    // One that waits for nothing makes room.
    if (counted.count() > state_->options.max_connections && !state_->idle.CloseOldest()) {
      Response refusal = Error(absl::ResourceExhaustedError(
          Cat("more than ", state_->options.max_connections, " connections")));
      co_await Write(refusal);
    } else {
      while (!state_->draining && co_await ServeOne()) {
      }
    }
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }

 private:
  // One request and its answer; true when another may follow.
  asio::awaitable<bool> ServeOne() {
    style_ = {};
    std::optional<Parser> parser;
    parser.emplace();
    parser->header_limit(state_->options.max_header_bytes);
    parser->body_limit(state_->options.max_body_bytes);
    error_code error = co_await ReadHeader(*parser);
    if (error == http::error::header_limit) {
      Response refusal = Error(InvalidArgument("the request's header has more than ",
                                               state_->options.max_header_bytes, " bytes"));
      co_await Write(refusal);
      co_return false;
    }
    if (error == http::error::body_limit) co_return co_await RefuseBody(*parser);
    if (error) {
      // Closed, silent for too long, or not HTTP.
      if (error.category() == http::make_error_code(http::error::bad_method).category() &&
          error != http::error::end_of_stream && error != http::error::partial_message) {
        Response refusal = Error(InvalidArgument("not HTTP: ", error.message()));
        co_await Write(refusal);
      }
      co_return false;
    }
    co_return co_await Dispatch(parser);
  }

  // A connection that waits for a request is idle: it may be closed when room is needed.
  asio::awaitable<error_code> ReadHeader(Parser& parser) {
    const IdleConnections::Spell idle(&state_->idle,
                                      [weak = weak_from_this(), number = ++idle_number_] {
                                        if (const auto self = weak.lock()) self->EndIdle(number);
                                      });
    error_code error;
    deadline_.After(state_->options.idle_timeout);
    for (int empty_lines = 0; !error; ++empty_lines) {
      if (buffer_.size() == 0) {
        const auto room = buffer_.prepare(1024);
        const size_t num_bytes = co_await socket_.async_read_some(
            room, asio::redirect_error(asio::use_awaitable, error));
        buffer_.commit(num_bytes);
      }
      if (error || empty_lines > kMaxEmptyLines || !PassEmptyLine()) break;
    }
    if (!error) {
      deadline_.After(state_->options.header_timeout);
      co_await http::async_read_header(socket_, buffer_, parser,
                                       asio::redirect_error(asio::use_awaitable, error));
    }
    deadline_.Stop();
    ++idle_number_;
    co_return error;
  }

  // True when the buffer began with a line's end.
  bool PassEmptyLine() {
    const std::string_view bytes(static_cast<const char*>(buffer_.data().data()), buffer_.size());
    const size_t length = bytes.starts_with("\r\n") ? 2 : bytes.starts_with("\n") ? 1 : 0;
    // A lone carriage return may be the first half of one.
    if (bytes == "\r") buffer_.consume(1);
    buffer_.consume(length);
    return length > 0 || bytes == "\r";
  }

  // From any thread: closes the connection when it is still idle in the same way.
  void EndIdle(uint64_t number) {
    asio::post(socket_.get_executor(), [self = shared_from_this(), number] {
      if (self->idle_number_ == number) self->deadline_.At(Clock::now());
    });
  }

  asio::awaitable<bool> Dispatch(std::optional<Parser>& parser) {
    const auto& request = parser->get();
    style_.http_version = request.version();
    style_.keep_alive = request.keep_alive() && !state_->draining;
    RequestHead head;
    absl::Status status = ReadRequestHead(request, head);
    style_.request_id = head.x_request_id.empty() ? MakeRequestId() : head.x_request_id;
    style_.varies_by_origin = state_->web_pages.has_origins();
    style_.allowed_origin = state_->web_pages.AllowedOrigin(head);
    const bool probe = IsProbe(head.path);
    if (status.ok() && !probe) status = state_->web_pages.Check(head);
    if (!status.ok()) {
      Count(head.path, HttpStatusOf(status));
      co_return co_await RefuseUnread(status);
    }
    if (head.path == kChatPath && request.method() == http::verb::post) {
      co_return co_await ServeChat(parser, head);
    }
    // No other request has a body to speak of.
    parser->body_limit(kMaxPlainBodyBytes);
    error_code error;
    deadline_.After(state_->options.header_timeout);
    co_await http::async_read(socket_, buffer_, *parser,
                              asio::redirect_error(asio::use_awaitable, error));
    deadline_.Stop();
    if (error == http::error::body_limit) co_return co_await RefuseBody(*parser);
    if (error) co_return false;
    Response reply = Answer(request, head);
    Count(head.path, static_cast<int>(reply.result_int()));
    co_return co_await Write(reply, request.method() == http::verb::head);
  }

  // To everything but chat.
  Response Answer(const http::request<GrowingBody>& request, const RequestHead& head) const {
    const http::verb method = request.method();
    const bool get = method == http::verb::get || method == http::verb::head;
    const bool models = head.path == "/v1/models" || ModelOfPath(head.path).has_value();
    if (method == http::verb::options && style_.varies_by_origin) return Preflight(head);
    if (get && head.path == "/") return Page();
    if (get && IsProbe(head.path)) return Probe(head.path);
    if (get && models) {
      const absl::Status allowed = Authorize(request);
      return allowed.ok() ? Models(head) : Error(allowed);
    }
    const bool known = models || head.path == "/" || IsProbe(head.path) || head.path == kChatPath;
    Response refusal = Error(absl::NotFoundError(known ? "this address does not take that method"
                                                       : "there is nothing at this address"));
    if (known) {
      refusal.result(http::status::method_not_allowed);
      refusal.set(http::field::allow, head.path == kChatPath ? "POST" : "GET, HEAD");
    }
    return refusal;
  }

  // What a browser asks for is allowed to pages of the origins that may call.
  Response Preflight(const RequestHead& head) const {
    Response reply = Reply(204, "text/plain", "");
    if (!style_.allowed_origin) return reply;
    reply.set(http::field::access_control_allow_methods, "GET, POST, OPTIONS");
    reply.set(http::field::access_control_allow_headers,
              head.asked_headers.empty() ? "authorization, content-type" : head.asked_headers);
    reply.set(http::field::access_control_max_age, "7200");  // the longest that browsers keep
    reply.set(http::field::vary,
              "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    if (head.asks_private_network) reply.set("Access-Control-Allow-Private-Network", "true");
    return reply;
  }

  Response Page() const {
    Response page = Reply(200, "text/html; charset=utf-8", std::string(WebPage()));
    page.set("Content-Security-Policy",
             "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
             "img-src data: blob:; connect-src 'self'");
    return page;
  }

  static bool IsProbe(std::string_view path) {
    return path == "/livez" || path == "/healthz" || path == "/readyz" || path == "/readyz/pools";
  }

  Response Probe(std::string_view path) const {
    if (path == "/livez" || path == "/healthz") return Reply(200, "text/plain", "ok\n");
    absl::Status ready = path == "/readyz/pools" ? state_->pools() : absl::OkStatus();
    if (state_->options.keys != nullptr) ready = PublicError(ready, /*sees_reasons=*/false, "");
    if (state_->draining) ready = absl::UnavailableError("shutting down");
    if (ready.ok()) return Reply(200, "text/plain", "ready\n");
    return Reply(503, "text/plain; charset=utf-8", Cat("not ready: ", Message(ready), "\n"));
  }

  Response Models(const RequestHead& head) const {
    const std::string& name = state_->options.model_name;
    const Json model = {
        {"id", name}, {"object", "model"}, {"created", 0}, {"owned_by", "vl2serve"}};
    const auto asked = ModelOfPath(head.path);
    if (!asked) {
      return Reply(200, "application/json",
                   Dump({{"object", "list"}, {"data", Json::array({model})}}));
    }
    if (*asked == name) return Reply(200, "application/json", Dump(model));
    return Error(ParamError(
        "model", Cat("there is no model \"", asked->substr(0, 100), "\" here, only \"", name, "\""),
        "model_not_found"));
  }

  asio::awaitable<bool> ServeChat(std::optional<Parser>& parser, const RequestHead& head) {
    ChatExchange exchange;
    exchange.state = state_;
    exchange.inbox = std::make_shared<ExchangeInbox>(socket_.get_executor());
    exchange.record = std::make_shared<RequestRecord>(state_->backend.tracer, "http",
                                                      Cat("POST ", kChatPath), head.trace);
    exchange.record->SetRequestId(style_.request_id);
    exchange.client_id = ClientId(ClientAddress(peer_, head.x_forwarded_for, head.forwarded,
                                                state_->options.trusted_proxies));
    // Decided before the body is read: a refused client must not cost memory. A server that drains
    // still serves what comes on connections that are open, once each: their clients cannot know.
    absl::Status admitted = UseKey(parser->get(), exchange);
    if (admitted.ok())
      admitted = state_->admission.CheckRoom(exchange.client_id, exchange.priority);
    if (!admitted.ok()) {
      CountRefused(exchange, admitted);
      Count(kChatPath, HttpStatusOf(admitted));
      co_return co_await RefuseUnread(admitted);
    }
    exchange.ticket = state_->admission.Begin(exchange.client_id, InterruptOf(exchange.inbox),
                                              Clock::now(), exchange.priority);
    const absl::Status read = co_await ReadBody(*parser, *exchange.inbox, *exchange.ticket);
    if (!read.ok()) CountRefused(exchange, read);
    if (absl::IsCancelled(read)) {
      Count(kChatPath, 499);
      co_return false;
    }
    if (!read.ok()) {
      exchange.ticket.reset();  // saying goodbye takes a while
      co_return co_await RefuseHalfRead(*parser, read);
    }
    exchange.body = std::move(parser->get().body());
    exchange.style = style_;
    parser.reset();
    if (buffer_.size() == 0) buffer_.shrink_to_fit();
    const absl::Status entered = exchange.ticket->Enter();
    if (!entered.ok()) {
      CountRefused(exchange, entered);
      Count(kChatPath, HttpStatusOf(entered));
      Response refusal = Error(entered);
      co_return co_await Write(refusal);
    }
    // From here on a client that leaves ends its request, whatever is being done for it.
    const auto watch = state_->departures->Start(socket_.native_handle(),
                                                 [weak = weak_from_this(), inbox = exchange.inbox] {
                                                   inbox->Interrupt(ClientLeft());
                                                   if (const auto self = weak.lock())
                                                     self->EndWrites();
                                                 });
    const ExchangeResult result = co_await AnswerChat(socket_, deadline_, std::move(exchange));
    Count(kChatPath, result.status);
    co_return result.keep_alive;
  }

  // For the admission controller; called from any thread.
  AdmissionController::EndRequest InterruptOf(const std::shared_ptr<ExchangeInbox>& inbox) {
    return [weak = weak_from_this(), inbox](const absl::Status& status) {
      inbox->Interrupt(status);
      const auto self = weak.lock();
      if (self == nullptr) return;
      asio::post(self->socket_.get_executor(), [self, inbox] {
        if (self->reading_ == inbox.get()) self->deadline_.At(Clock::now());
      });
    };
  }

  // From any thread: what is written to a client that has left fails at once.
  void EndWrites() {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      error_code ignored;
      self->socket_.shutdown(tcp::socket::shutdown_both, ignored);
    });
  }

  // Reads the body into the parser; the ticket holds each byte as it comes. CANCELLED: the client
  // has left. DEADLINE_EXCEEDED: it sends too slowly. OUT_OF_RANGE: more than max_body_bytes.
  asio::awaitable<absl::Status> ReadBody(Parser& parser, ExchangeInbox& inbox,
                                         AdmissionController::Ticket& ticket) {
    error_code error;
    if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      http::response<http::empty_body> go_on(http::status::continue_, style_.http_version);
      deadline_.After(kPlainWriteTimeout);
      co_await http::async_write(socket_, go_on, asio::redirect_error(asio::use_awaitable, error));
      deadline_.Stop();
      if (error) co_return ClientLeft();
    }
    const HttpOptions& options = state_->options;
    const auto begin = Clock::now();
    const auto end = begin + options.body_timeout;
    reading_ = &inbox;
    int64_t held = 0;
    absl::Status status;
    while (status.ok() && !parser.is_done()) {
      // When it will have been too slow, unless more comes.
      const auto earned = std::chrono::milliseconds(held * 1000 / options.min_body_rate);
      const auto too_slow = begin + std::max(options.body_grace, earned);
      deadline_.At(std::min(end, too_slow));
      co_await http::async_read_some(socket_, buffer_, parser,
                                     asio::redirect_error(asio::use_awaitable, error));
      if (deadline_.passed()) {
        status = TooSlow(held, begin);
      } else if (error == http::error::body_limit) {
        status = absl::OutOfRangeError("the body is too long");
      } else if (error) {
        status = ClientLeft();
      } else {
        const auto size = static_cast<int64_t>(parser.get().body().size());
        status = ticket.Grow(size - held, Clock::now());
        held = size;
      }
    }
    deadline_.Stop();
    reading_ = nullptr;
    // The controller's word comes before what its interruption looks like here.
    if (const auto item = inbox.PopWaiting()) {
      if (const auto* told = std::get_if<Interrupted>(&*item)) status = told->status;
    }
    co_return status;
  }

  absl::Status TooSlow(int64_t num_bytes, Clock::time_point begin) const {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
    if (ms >= state_->options.body_timeout) {
      return absl::DeadlineExceededError(Cat("the body is not here after ", ms.count(),
                                             " ms, the limit is ",
                                             state_->options.body_timeout.count()));
    }
    return absl::DeadlineExceededError(Cat("the body came with ", num_bytes, " bytes in ",
                                           ms.count(), " ms, at least ",
                                           state_->options.min_body_rate, " a second are needed"));
  }

  // Whether the request shows a key; any request does where none are asked for.
  absl::Status Authorize(const http::fields& fields) const {
    if (state_->options.keys == nullptr) return absl::OkStatus();
    return state_->options.keys->Find(View(fields[http::field::authorization])).status();
  }

  // The same for a chat request, which also counts against the key's limits.
  absl::Status UseKey(const http::fields& fields, ChatExchange& exchange) {
    if (state_->options.keys == nullptr) return absl::OkStatus();
    VL2_ASSIGN_OR_RETURN(exchange.key, state_->options.keys->Begin(
                                           View(fields[http::field::authorization]), Clock::now()));
    exchange.client_id = ClientIdOfKey(exchange.key->key(), exchange.client_id);
    exchange.priority = exchange.key->key().priority;
    exchange.record->SetClient(exchange.key->key().name);
    return absl::OkStatus();
  }

  Response Reply(int status, std::string_view type, std::string body) const {
    return MakeResponse(style_, status, type, std::move(body));
  }
  Response Error(const absl::Status& error) const { return MakeErrorResponse(style_, error); }

  asio::awaitable<bool> RefuseBody(Parser& parser) {
    style_.keep_alive = false;
    const uint64_t limit = parser.get().method() == http::verb::post
                               ? state_->options.max_body_bytes
                               : kMaxPlainBodyBytes;
    Response response =
        Error(InvalidArgument("the request's body has more than ", limit, " bytes"));
    response.result(http::status::payload_too_large);
    co_await Write(response);
    co_await Linger();
    co_return false;
  }

  asio::awaitable<bool> RefuseHalfRead(Parser& parser, const absl::Status& error) {
    if (absl::IsOutOfRange(error)) {
      Count(kChatPath, 413);
      co_return co_await RefuseBody(parser);
    }
    style_.keep_alive = false;
    Response refusal = Error(error);
    // The client's own doing, and not the 504 of a request that took too long here.
    if (absl::IsDeadlineExceeded(error)) refusal.result(http::status::request_timeout);
    Count(kChatPath, static_cast<int>(refusal.result_int()));
    co_await Write(refusal);
    co_await Linger();
    co_return false;
  }

  // A refusal before the body has been read: the rest of it would be taken for the next request.
  asio::awaitable<bool> RefuseUnread(const absl::Status& error) {
    style_.keep_alive = false;
    Response refusal = Error(error);
    co_await Write(refusal);
    co_await Linger();
    co_return false;
  }

  // Closing at once on unread bytes resets the connection, and the client might never see the
  // answer: read on for a moment.
  asio::awaitable<void> Linger() {
    error_code error;
    socket_.shutdown(tcp::socket::shutdown_send, error);
    deadline_.After(kLinger);
    std::string sink(16 << 10, '\0');
    while (!error && !deadline_.passed()) {
      co_await socket_.async_read_some(asio::buffer(sink),
                                       asio::redirect_error(asio::use_awaitable, error));
    }
    deadline_.Stop();
  }

  // By reference: GCC 12 destroys some temporaries of a co_await expression twice.
  asio::awaitable<bool> Write(Response& response, bool head = false) {
    error_code error;
    if (head) response.body().clear();
    deadline_.After(kPlainWriteTimeout);
    co_await http::async_write(socket_, response, asio::redirect_error(asio::use_awaitable, error));
    deadline_.Stop();
    co_return !error && response.keep_alive();
  }

  void CountRefused(ChatExchange& exchange, const absl::Status& status) const {
    const bool is_known = exchange.key != nullptr;
    state_->metrics.OnRefused(
        Api::kHttp, is_known ? exchange.key->key().name : GatewayMetrics::kNoClient, status);
    exchange.record->Set("http.response.status_code", HttpStatusOf(status));
    exchange.record->End(status);
    exchange.record.reset();  // it is written now: saying goodbye takes a while
  }

  void Count(std::string_view path, int status) const {
    state_->metrics.metrics()
        .Counter("vl2_gateway_http_requests_total", "HTTP requests answered",
                 {{"path", path == kChatPath ? kChatPath : "other"}, {"code", Cat(status)}})
        .Add();
  }

  tcp::socket socket_;
  SocketDeadline deadline_;
  const std::shared_ptr<ServerState> state_;
  asio::ip::address peer_;
  beast::flat_buffer buffer_;
  ResponseStyle style_;                     // of answers to the request that is being served
  uint64_t idle_number_ = 0;                // counts beginnings and ends of being idle
  const ExchangeInbox* reading_ = nullptr;  // of the request whose body is being read
};

}  // namespace

asio::awaitable<void> ServeConnection(tcp::socket socket, std::shared_ptr<ServerState> state) {
  // The libraries' exceptions end here.
  try {
    const auto connection = std::make_shared<Connection>(std::move(socket), std::move(state));
    co_await connection->Run();
  } catch (const std::exception& error) {
    Log(Severity::kWarning, "connection ended by an exception", {{"reason", error.what()}});
  }
}

}  // namespace vl2::gateway
