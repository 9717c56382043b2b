#include "gateway/http/chat_exchange.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <optional>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include "boost/asio/co_spawn.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/this_coro.hpp"
#include "gateway/http/chat_request.h"
#include "gateway/http/chat_response.h"
#include "gateway/http/stream_writer.h"
#include "gateway/session/public_error.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kForever = std::chrono::hours(1);

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

// What work on other threads shares with the exchange. While such work runs, the exchange waits for
// its item in the inbox and touches nothing here; when the exchange is over first, the work is the
// last owner, and with it ends what the request holds of the server.
struct Preparation {
  std::shared_ptr<ServerState> state;
  std::shared_ptr<ExchangeInbox> inbox;
  std::unique_ptr<AdmissionController::Ticket> ticket;
  std::string client_id;
  int priority = 0;
  std::unique_ptr<ApiKeys::Use> key;
  std::shared_ptr<RequestRecord> record;
  std::string body;
  std::string request_id;
  AnswerIdentity identity;
  absl::Status status;
  ChatRequest request;
  Clock::time_point deadline;
};

void Parse(Preparation& preparation) {
  const HttpOptions& options = preparation.state->options;
  RequestDefaults defaults;
  defaults.model_name = options.model_name;
  defaults.sampling = options.sampling;
  defaults.max_body_bytes = options.max_body_bytes;
  defaults.seed = RandomNumber();
  defaults.fetch_images = preparation.state->fetcher.enabled();
  auto request = ParseChatRequest(std::move(preparation.body), defaults);
  preparation.status = request.status();
  if (request.ok()) preparation.request = *std::move(request);
}

// Rendering and tokenising take a while for long texts, so this too runs beside the connections.
void StartSession(Preparation& preparation) {
  ChatTask task = std::move(preparation.request.task);
  task.request_id = preparation.request_id;
  task.client_id = preparation.client_id;
  task.priority = preparation.priority;
  if (preparation.key != nullptr) {
    task.cache_salt = SaltOfTenant(preparation.key->key().tenant, task.cache_salt);
  }
  task.deadline = preparation.deadline;
  task.trace = preparation.record->trace();
  preparation.inbox->Adopt(
      ChatSession::Start(preparation.state->backend, std::move(task),
                         [inbox = preparation.inbox, record = preparation.record](ChatEvent event) {
                           record->Hear(event);
                           inbox->Push(std::move(event));
                         }));
}

// Fetches one image into the inbox.
asio::awaitable<void> FetchImage(std::shared_ptr<Preparation> preparation, size_t number,
                                 std::shared_ptr<FetchStop> stop) {
  const RemoteImage& remote = preparation->request.remote_images[number];
  absl::Status failure;
  try {
    absl::StatusOr<std::string> bytes =
        co_await preparation->state->fetcher.Fetch(remote.address, *preparation->ticket, *stop);
    preparation->inbox->Push(ImageFetched{number, std::move(bytes)});
  } catch (const std::exception& error) {
    failure = absl::InternalError(Cat("fetching an image: ", error.what()));
  }
  if (!failure.ok()) preparation->inbox->Push(ImageFetched{number, failure});
}

class Exchange {
 public:
  Exchange(tcp::socket& socket, SocketDeadline& deadline, ChatExchange exchange)
      : socket_(socket),
        deadline_(deadline),
        style_(std::move(exchange.style)),
        preparation_(std::make_shared<Preparation>()) {
    preparation_->state = std::move(exchange.state);
    preparation_->inbox = std::move(exchange.inbox);
    preparation_->ticket = std::move(exchange.ticket);
    preparation_->client_id = std::move(exchange.client_id);
    preparation_->priority = exchange.priority;
    preparation_->key = std::move(exchange.key);
    preparation_->record = std::move(exchange.record);
    preparation_->body = std::move(exchange.body);
    preparation_->request_id = style_.request_id;
    preparation_->deadline = start_ + preparation_->state->options.request_timeout;
    preparation_->identity = {.id = MakeId(),
                              .model = preparation_->state->options.model_name,
                              .created = static_cast<int64_t>(std::time(nullptr))};
  }
  ~Exchange() {
    preparation_->inbox->Close();
    for (const auto& stop : fetches_) stop->Stop();
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  asio::awaitable<ExchangeResult> Run() {
    ExchangeResult result = co_await Answer();
    preparation_->record->Set("http.response.status_code", result.status);
    Account();
    co_return result;
  }

 private:
  ServerState& state() { return *preparation_->state; }

  asio::awaitable<ExchangeResult> Answer() {
    ++state().num_waiting_parses;
    asio::post(state().parse_threads, [preparation = preparation_] {
      --preparation->state->num_waiting_parses;
      if (!preparation->inbox->closed()) Parse(*preparation);
      preparation->inbox->Push(BodyParsed{});
    });
    const std::optional<InboxItem> parsed = co_await Next(kForever);
    if (!interrupted_) status_ = preparation_->status;
    if (status_.ok() && !preparation_->request.remote_images.empty()) co_await FetchImages();
    if (!status_.ok()) co_return co_await Refuse();
    // What formatting needs of the task, which goes to the session.
    ChatTask shape;
    shape.num_samples = preparation_->request.task.num_samples;
    shape.sampling.logprobs = preparation_->request.task.sampling.logprobs;
    asio::post(state().parse_threads, [preparation = preparation_] {
      if (!preparation->inbox->closed()) StartSession(*preparation);
    });
    if (preparation_->request.stream) co_return co_await Stream(shape);
    co_return co_await Whole(shape);
  }

  // The next item that is no interruption; nothing when there is none in time, or after one, which
  // is then in status_.
  asio::awaitable<std::optional<InboxItem>> Next(std::chrono::milliseconds patience) {
    std::optional<InboxItem> item = co_await preparation_->inbox->Pop(patience);
    if (item) Take(item);
    co_return item;
  }
  std::optional<InboxItem> NextWaiting() {
    std::optional<InboxItem> item = preparation_->inbox->PopWaiting();
    if (item) Take(item);
    return item;
  }
  // Sees to interruptions and to the end, the same wherever they come.
  void Take(std::optional<InboxItem>& item) {
    if (const auto* interrupted = std::get_if<Interrupted>(&*item)) {
      interrupted_ = true;
      status_ = interrupted->status;
      item.reset();
      return;
    }
    auto* event = std::get_if<ChatEvent>(&*item);
    if (event == nullptr) return;
    if (auto* end = std::get_if<ChatEnd>(event)) {
      end->status = PublicError(end->status, SeesReasons(), preparation_->request_id);
      end_ = *end;
      status_ = end->status;
    } else if (!has_answer_ && !std::holds_alternative<ChatAccepted>(*event) &&
               !std::holds_alternative<ChatProgress>(*event)) {
      has_answer_ = true;
      preparation_->ticket->SetAnswering();
    }
  }

  asio::awaitable<void> FetchImages() {
    std::vector<RemoteImage>& remotes = preparation_->request.remote_images;
    const auto executor = co_await asio::this_coro::executor;
    size_t next = 0;
    size_t done = 0;
    const auto begin_next = [&] {
      const auto& stop = fetches_.emplace_back(std::make_shared<FetchStop>());
      asio::co_spawn(executor, FetchImage(preparation_, next++, stop), asio::detached);
    };
    while (next < std::min(remotes.size(), kMaxFetches)) begin_next();
    while (done < remotes.size()) {
      std::optional<InboxItem> item = co_await Next(kForever);
      if (interrupted_) co_return;
      auto* fetched = item ? std::get_if<ImageFetched>(&*item) : nullptr;
      if (fetched == nullptr) continue;
      const RemoteImage& remote = remotes[fetched->number];
      if (!fetched->bytes.ok()) {
        status_ = FetchError(remote, fetched->bytes.status());
        co_return;
      }
      preparation_->request.task.images[remote.index].bytes =
          std::make_shared<const std::string>(*std::move(fetched->bytes));
      ++done;
      if (next < remotes.size()) begin_next();
    }
  }

  // A host that fails is the request's fault as much as a broken image is.
  static absl::Status FetchError(const RemoteImage& remote, const absl::Status& error) {
    if (absl::IsResourceExhausted(error)) return error;
    return ParamError(remote.param, Cat(remote.param, ": ", Message(error)), "invalid_image_url");
  }

  bool SeesReasons() const {
    const ApiKeys::Use* const key = preparation_->key.get();
    return gateway::SeesReasons(preparation_->state->options.keys != nullptr,
                                key == nullptr ? nullptr : &key->key());
  }

  bool ClientLeft() const { return interrupted_ && absl::IsCancelled(status_); }

  // Answers with status_ alone.
  asio::awaitable<ExchangeResult> Refuse() {
    if (ClientLeft()) co_return ExchangeResult{499, false};
    Response response = MakeErrorResponse(style_, status_);
    co_return co_await Write(response);
  }

  asio::awaitable<ExchangeResult> Write(Response& response) {
    error_code error;
    deadline_.After(kWriteTimeout);
    co_await http::async_write(socket_, response, asio::redirect_error(asio::use_awaitable, error));
    deadline_.Stop();
    co_return ExchangeResult{error ? 499 : static_cast<int>(response.result_int()),
                             response.keep_alive() && !error};
  }

  asio::awaitable<ExchangeResult> Whole(const ChatTask& shape) {
    WholeAnswer answer(preparation_->identity, state().backend.tokenizer, shape);
    while (!end_ && !interrupted_) {
      const std::optional<InboxItem> item = co_await Next(kForever);
      const auto* event = item ? std::get_if<ChatEvent>(&*item) : nullptr;
      if (event != nullptr) answer.Add(*event);
    }
    if (!status_.ok()) co_return co_await Refuse();
    Response response = MakeResponse(style_, 200, "application/json", answer.Body());
    co_return co_await Write(response);
  }

  asio::awaitable<ExchangeResult> Stream(const ChatTask& shape) {
    const StreamFormatter formatter(preparation_->identity, state().backend.tokenizer, shape,
                                    preparation_->request.include_usage);
    StreamWriter writer(socket_, deadline_, style_);
    auto comment_at = Clock::now() + state().options.sse_comment_interval;
    while (!end_ && !interrupted_) {
      const auto patience = std::chrono::ceil<std::chrono::milliseconds>(
          std::max<Clock::duration>(comment_at - Clock::now(), Clock::duration::zero()));
      std::optional<InboxItem> item = co_await Next(patience);
      // All that is here goes in one write.
      std::string text;
      for (; item; item = NextWaiting()) {
        const auto* event = std::get_if<ChatEvent>(&*item);
        if (event != nullptr) text += formatter.Format(*event);
      }
      if (interrupted_) break;
      // What fails before it has begun is answered with a status instead.
      if (!writer.started() && !status_.ok()) break;
      const bool silent = text.empty() && Clock::now() >= comment_at;
      if (silent) text = kSseComment;
      if (text.empty() || !(writer.started() || has_answer_ || silent)) continue;
      if (!writer.started()) {
        text.insert(0, formatter.Begin());
        co_await writer.WriteHeader(std::move(text));
      } else {
        co_await writer.Write(std::move(text));
      }
      if (writer.failed()) break;
      comment_at = Clock::now() + state().options.sse_comment_interval;
    }
    co_return co_await EndStream(writer);
  }

  asio::awaitable<ExchangeResult> EndStream(StreamWriter& writer) {
    if (writer.failed()) status_ = absl::CancelledError("the client does not take its answer");
    if (writer.failed() || ClientLeft()) co_return ExchangeResult{499, false};
    if (!writer.started()) co_return co_await Refuse();
    // The session's own error has been written as its last event.
    std::string text;
    if (interrupted_) text = SseEvent(ErrorBody(status_));
    if (!status_.ok()) text += kSseDone;
    co_await writer.Write(std::move(text));
    co_await writer.End();
    co_return ExchangeResult{200, writer.keep_alive() && status_.ok()};
  }

  // Every request counts, however it ended.
  void Account() {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    ApiKeys::Use* const key = preparation_->key.get();
    state().metrics.OnRequestEnd(
        Api::kHttp, key == nullptr ? GatewayMetrics::kNoClient : key->key().name, status_, seconds);
    preparation_->record->End(status_);
    if (key != nullptr && end_) key->Charge(end_->prompt_tokens + end_->generated_tokens);
  }

  static constexpr size_t kMaxFetches = 4;  // at a time

  tcp::socket& socket_;
  SocketDeadline& deadline_;
  const Clock::time_point start_ = Clock::now();
  const ResponseStyle style_;
  const std::shared_ptr<Preparation> preparation_;
  std::vector<std::shared_ptr<FetchStop>> fetches_;
  absl::Status status_;  // why there is no answer, or not all of it
  bool interrupted_ = false;
  bool has_answer_ = false;  // a part of an answer has come
  std::optional<ChatEnd> end_;
};

}  // namespace

asio::awaitable<ExchangeResult> AnswerChat(tcp::socket& socket, SocketDeadline& deadline,
                                           ChatExchange exchange) {
  Exchange running(socket, deadline, std::move(exchange));
  co_return co_await running.Run();
}

}  // namespace vl2::gateway
