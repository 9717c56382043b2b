#include "gateway/http/chat_exchange.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <deque>
#include <optional>
#include <random>
#include <utility>
#include <variant>

#include "boost/asio/co_spawn.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/this_coro.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "boost/asio/write.hpp"
#include "boost/beast/http/chunk_encode.hpp"
#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/serializer.hpp"
#include "boost/beast/http/write.hpp"
#include "gateway/http/chat_request.h"
#include "gateway/http/chat_response.h"
#include "gateway/http/responses.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

// Time for a client to take what has been written.
constexpr auto kWriteTimeout = std::chrono::seconds(60);

uint64_t RandomNumber() {
  thread_local std::mt19937_64 generator((uint64_t{std::random_device{}()} << 32) ^
                                         std::random_device{}());
  return generator();
}

std::string MakeId() {
  std::array<char, 48> text;
  std::snprintf(text.data(), text.size(), "chatcmpl-%016llx%08llx",
                static_cast<unsigned long long>(RandomNumber()),
                static_cast<unsigned long long>(RandomNumber() & 0xffffffffu));
  return text.data();
}

// Events on their way from the session's threads to the connection's strand.
class EventQueue : public std::enable_shared_from_this<EventQueue> {
 public:
  explicit EventQueue(asio::any_io_executor executor) : executor_(executor), ready_(executor) {}

  // From any thread.
  void Push(ChatEvent event) {
    MutexLock lock(&mutex_);
    if (closed_) return;
    asio::post(executor_, [self = shared_from_this(), event = std::move(event)]() mutable {
      self->events_.push_back(std::move(event));
      self->ready_.cancel();
    });
  }

  // The next event; nothing when `patience` passes without one. On the strand.
  asio::awaitable<std::optional<ChatEvent>> Pop(std::chrono::milliseconds patience) {
    if (events_.empty()) {
      ready_.expires_after(patience);
      error_code ignored;
      co_await ready_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    if (events_.empty()) co_return std::nullopt;
    ChatEvent event = std::move(events_.front());
    events_.pop_front();
    co_return event;
  }

  // From now on Push does nothing: the executor may go away.
  void Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
  }

 private:
  Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  asio::any_io_executor executor_;
  asio::steady_timer ready_;
  std::deque<ChatEvent> events_;
};

// A session that ends when the coroutine that waits for it does.
class SessionOwner {
 public:
  SessionOwner() = default;
  ~SessionOwner() {
    if (queue != nullptr) queue->Close();
    if (session != nullptr) session->Cancel();
  }
  SessionOwner(const SessionOwner&) = delete;
  SessionOwner& operator=(const SessionOwner&) = delete;
  std::shared_ptr<EventQueue> queue;
  std::shared_ptr<ChatSession> session;
};

// Writes a response whose length is not known before: in chunks, or to the connection's end.
class StreamWriter {
 public:
  StreamWriter(boost::beast::tcp_stream& stream, unsigned http_version, bool keep_alive)
      : stream_(stream), chunked_(http_version >= 11), keep_alive_(keep_alive && chunked_) {}

  asio::awaitable<void> WriteHeader(const ServerState& state) {
    http::response<http::empty_body> response;
    response.version(chunked_ ? 11 : 10);
    response.result(http::status::ok);
    SetFixedHeaders(state, response);
    response.set(http::field::content_type, "text/event-stream; charset=utf-8");
    response.set(http::field::cache_control, "no-cache");
    response.set("X-Accel-Buffering", "no");  // proxies pass events on at once
    response.keep_alive(keep_alive_);
    response.chunked(chunked_);
    http::response_serializer<http::empty_body> serializer(response);
    stream_.expires_after(kWriteTimeout);
    co_await http::async_write_header(stream_, serializer,
                                      asio::redirect_error(asio::use_awaitable, error_));
    started_ = true;
  }

  asio::awaitable<void> Write(std::string text) {
    if (text.empty() || error_) co_return;
    stream_.expires_after(kWriteTimeout);
    if (chunked_) {
      co_await asio::async_write(stream_, http::make_chunk(asio::buffer(text)),
                                 asio::redirect_error(asio::use_awaitable, error_));
    } else {
      co_await asio::async_write(stream_, asio::buffer(text),
                                 asio::redirect_error(asio::use_awaitable, error_));
    }
  }

  asio::awaitable<void> End() {
    if (chunked_ && !error_) {
      stream_.expires_after(kWriteTimeout);
      co_await asio::async_write(stream_, http::make_chunk_last(),
                                 asio::redirect_error(asio::use_awaitable, error_));
    }
  }

  bool started() const { return started_; }
  bool failed() const { return error_.failed(); }
  bool keep_alive() const { return keep_alive_ && !error_; }

 private:
  boost::beast::tcp_stream& stream_;
  const bool chunked_;
  const bool keep_alive_;
  bool started_ = false;
  error_code error_;
};

void Account(ServerState& state, const ChatEnd& end) {
  state.request_ms.Observe(end.total_ms);
  if (end.first_token_ms > 0) state.first_token_ms.Observe(end.first_token_ms);
  state.prompt_tokens.Add(static_cast<double>(end.prompt_tokens));
  state.generated_tokens.Add(static_cast<double>(end.generated_tokens));
}

asio::awaitable<ExchangeResult> WriteWhole(boost::beast::tcp_stream& stream, Response& response) {
  error_code error;
  stream.expires_after(kWriteTimeout);
  co_await http::async_write(stream, response, asio::redirect_error(asio::use_awaitable, error));
  co_return ExchangeResult{static_cast<int>(response.result_int()),
                           response.keep_alive() && !error};
}

class Exchange {
 public:
  Exchange(boost::beast::tcp_stream& stream, std::shared_ptr<ServerState> state,
           unsigned http_version, bool keep_alive, ByteReservation& held_bytes)
      : stream_(stream),
        state_(std::move(state)),
        http_version_(http_version),
        keep_alive_(keep_alive),
        held_bytes_(held_bytes) {}

  asio::awaitable<ExchangeResult> Run(std::string body) {
    identity_.id = MakeId();
    identity_.model = state_->options.model_name;
    identity_.created = static_cast<int64_t>(std::time(nullptr));
    const auto executor = co_await asio::this_coro::executor;
    owner_.queue = std::make_shared<EventQueue>(executor);
    // Reading 64 MiB of JSON takes a while: not on the threads that serve all connections. So does
    // tokenising, which Start does.
    // Named: the compiler destroys temporaries of a co_await expression twice (GCC 12).
    body_ = std::move(body);
    auto parse = [this]() -> asio::awaitable<void> {
      status_ = Parse();
      co_return;
    };
    co_await asio::co_spawn(state_->parse_threads, parse(), asio::use_awaitable);
    if (status_.ok() && !request_.remote_images.empty()) co_await FetchImages();
    if (!status_.ok()) co_return co_await Refuse(status_);
    auto start = [this]() -> asio::awaitable<void> {
      StartSession();
      co_return;
    };
    co_await asio::co_spawn(state_->parse_threads, start(), asio::use_awaitable);
    if (request_.stream) co_return co_await Stream();
    co_return co_await Whole();
  }

 private:
  // Parse and StartSession run on a parse thread, while the connection's coroutine waits.
  absl::Status Parse() {
    RequestDefaults defaults;
    defaults.model_name = state_->options.model_name;
    defaults.sampling = state_->options.sampling;
    defaults.max_body_bytes = state_->options.max_body_bytes;
    defaults.seed = RandomNumber();
    defaults.fetch_images = state_->fetcher.enabled();
    VL2_ASSIGN_OR_RETURN(request_, ParseChatRequest(body_, defaults));
    body_ = {};
    return absl::OkStatus();
  }

  asio::awaitable<void> FetchImages() {
    for (const RemoteImage& remote : request_.remote_images) {
      absl::StatusOr<std::string> bytes =
          co_await state_->fetcher.Fetch(remote.address, held_bytes_);
      if (bytes.ok()) {
        request_.task.images[remote.index].bytes =
            std::make_shared<const std::string>(*std::move(bytes));
        continue;
      }
      status_ = bytes.status();
      // A host that fails is the request's fault as much as a broken picture is.
      if (status_.code() != absl::StatusCode::kResourceExhausted) {
        status_ = ParamError(remote.param, Cat(remote.param, ": ", Message(bytes.status())),
                             "invalid_image_url");
      }
      co_return;
    }
  }

  void StartSession() {
    request_.task.request_id = identity_.id;
    request_.task.deadline = Clock::now() + state_->options.request_timeout;
    // What formatting needs of the task; the pictures stay with the session.
    ChatTask task = std::move(request_.task);
    request_.task = ChatTask();
    request_.task.num_samples = task.num_samples;
    request_.task.sampling.logprobs = task.sampling.logprobs;
    owner_.session = ChatSession::Start(
        state_->backend, std::move(task),
        [queue = owner_.queue](ChatEvent event) { queue->Push(std::move(event)); });
  }

  asio::awaitable<ExchangeResult> Refuse(const absl::Status& error) {
    Response response = MakeErrorResponse(*state_, http_version_, keep_alive_, error);
    co_return co_await WriteWhole(stream_, response);
  }

  asio::awaitable<ExchangeResult> Whole() {
    WholeAnswer answer(identity_, state_->backend.tokenizer, request_.task);
    for (;;) {
      const auto event = co_await owner_.queue->Pop(std::chrono::hours(1));
      if (!event) continue;
      answer.Add(*event);
      const auto* end = std::get_if<ChatEnd>(&*event);
      if (end == nullptr) continue;
      Account(*state_, *end);
      if (!end->status.ok()) co_return co_await Refuse(end->status);
      Response response =
          MakeResponse(*state_, http_version_, keep_alive_, 200, "application/json", answer.Body());
      co_return co_await WriteWhole(stream_, response);
    }
  }

  asio::awaitable<ExchangeResult> Stream() {
    const StreamFormatter formatter(identity_, state_->backend.tokenizer, request_.task,
                                    request_.include_usage);
    StreamWriter writer(stream_, http_version_, keep_alive_);
    // The status line waits for the first sign of success, so that what is refused is refused with
    // a status of its own; but not for longer than a client should be left in silence.
    for (;;) {
      const auto event = co_await owner_.queue->Pop(state_->options.sse_comment_interval);
      const auto* end = event ? std::get_if<ChatEnd>(&*event) : nullptr;
      if (end != nullptr) Account(*state_, *end);
      if (end != nullptr && !end->status.ok() && !writer.started()) {
        co_return co_await Refuse(end->status);
      }
      std::string text;
      if (!writer.started()) {
        if (event && std::holds_alternative<ChatProgress>(*event)) continue;
        co_await writer.WriteHeader(*state_);
        text = formatter.Begin();
      }
      text += event ? formatter.Format(*event) : std::string(kSseComment);
      co_await writer.Write(std::move(text));
      if (writer.failed()) co_return ExchangeResult{499, false};
      if (end == nullptr) continue;
      co_await writer.End();
      co_return ExchangeResult{200, writer.keep_alive() && end->status.ok()};
    }
  }

  boost::beast::tcp_stream& stream_;
  const std::shared_ptr<ServerState> state_;
  const unsigned http_version_;
  const bool keep_alive_;
  ByteReservation& held_bytes_;
  AnswerIdentity identity_;
  std::string body_;
  absl::Status status_;
  ChatRequest request_;
  SessionOwner owner_;
};

}  // namespace

asio::awaitable<ExchangeResult> AnswerChat(boost::beast::tcp_stream& stream,
                                           std::shared_ptr<ServerState> state, std::string body,
                                           unsigned http_version, bool keep_alive,
                                           ByteReservation& held_bytes) {
  Exchange exchange(stream, std::move(state), http_version, keep_alive, held_bytes);
  co_return co_await exchange.Run(std::move(body));
}

}  // namespace vl2::gateway
