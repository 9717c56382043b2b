#include "gateway/http/image_fetcher.h"

#include <arpa/inet.h>

#include <optional>
#include <utility>
#include <vector>

#include "boost/asio/connect.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/ssl/context.hpp"
#include "boost/asio/ssl/host_name_verification.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/this_coro.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/core/tcp_stream.hpp"
#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/parser.hpp"
#include "boost/beast/http/read.hpp"
#include "boost/beast/http/string_body.hpp"
#include "boost/beast/http/write.hpp"
#include "boost/beast/ssl/ssl_stream.hpp"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr uint32_t kMaxHeaderBytes = 16 << 10;
constexpr int kMaxInterim = 8;  // answers before the one that counts

absl::Status Unreachable(const ImageUrl& url, const error_code& error) {
  if (error == beast::error::timeout) {
    return absl::DeadlineExceededError(Cat("the host ", url.host, " took too long"));
  }
  return absl::UnavailableError(Cat("the host ", url.host, ": ", error.message()));
}

// What a look-up on the resolver's thread brings to the strand that waits for it.
struct LookedUp {
  explicit LookedUp(const asio::any_io_executor& executor) : ready(executor) {}
  asio::steady_timer ready;
  std::optional<absl::StatusOr<NameResolver::Addresses>> result;
};

// Numbers are addresses as browsers read them: 2130706433 and 0x7f.1 are 127.0.0.1.
std::optional<asio::ip::address> NumericAddress(const std::string& host) {
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (!error) return address;
  in_addr v4;
  if (::inet_aton(host.c_str(), &v4) != 0) return asio::ip::make_address_v4(ntohl(v4.s_addr));
  return std::nullopt;
}

}  // namespace

struct ImageFetcher::Tls {
  Tls() {
    error_code ignored;  // no authorities: every certificate is refused
    context.set_default_verify_paths(ignored);
    context.set_verify_mode(asio::ssl::verify_peer);
  }
  asio::ssl::context context{asio::ssl::context::tls_client};
};

struct ImageFetcher::Answer {
  std::string redirect;  // where to go on; empty: `body` is the picture
  std::string body;
};

namespace {

bool IsRedirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

http::request<http::empty_body> MakeRequest(const ImageUrl& url) {
  http::request<http::empty_body> request(http::verb::get, url.target, 11);
  request.set(http::field::host, url.HostHeader());
  request.set(http::field::user_agent, "vl2serve");
  request.set(http::field::accept, "image/*");
  request.set(http::field::accept_encoding, "identity");
  request.set(http::field::connection, "close");
  return request;
}

// One GET over a connected stream; its lowest layer keeps the time.
template <class Stream>
asio::awaitable<absl::Status> Exchange(Stream& stream, const ImageUrl& url, int64_t max_bytes,
                                       AdmissionController::Ticket& ticket, std::string& redirect,
                                       std::string& body) {
  using Parser = http::response_parser<http::string_body>;
  error_code error;
  const http::request<http::empty_body> request = MakeRequest(url);
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Unreachable(url, error);

  beast::flat_buffer buffer;
  std::optional<Parser> parser;
  const auto too_large = [&] {
    return InvalidArgument("the picture at ", url.host, " has more than ", max_bytes, " bytes");
  };
  unsigned status = 100;
  // Interim answers (100, 103) come before the one that counts.
  for (int i = 0; status >= 100 && status < 200 && i <= kMaxInterim; ++i) {
    parser.emplace();
    parser->header_limit(kMaxHeaderBytes);
    parser->body_limit(static_cast<uint64_t>(max_bytes));
    co_await http::async_read_header(stream, buffer, *parser,
                                     asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::body_limit) co_return too_large();
    if (error) co_return Unreachable(url, error);
    status = parser->get().result_int();
  }
  if (IsRedirect(status)) {
    const auto location = parser->get()[http::field::location];
    redirect.assign(location.data(), location.size());
    if (redirect.empty()) co_return InvalidArgument(url.host, " redirects to nowhere");
    co_return absl::OkStatus();
  }
  if (status != 200) co_return InvalidArgument("the host ", url.host, " answered ", status);
  int64_t held = 0;
  while (!parser->is_done()) {
    co_await http::async_read_some(stream, buffer, *parser,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::body_limit) co_return too_large();
    if (error) co_return Unreachable(url, error);
    const auto size = static_cast<int64_t>(parser->get().body().size());
    const absl::Status grown = ticket.Grow(size - held, AdmissionController::Clock::now());
    if (!grown.ok()) co_return grown;
    held = size;
  }
  body = std::move(parser->get().body());
  if (body.empty()) co_return InvalidArgument("the host ", url.host, " answered with 0 bytes");
  co_return absl::OkStatus();
}

absl::Status Stopped() { return absl::CancelledError("nobody waits for the image any more"); }

}  // namespace

ImageFetcher::ImageFetcher(ImageFetchOptions options)
    : options_(std::move(options)),
      tls_(enabled() ? std::make_unique<Tls>() : nullptr),
      resolver_(options_.name_servers) {}

ImageFetcher::~ImageFetcher() = default;

// The host's addresses, all of them allowed.
asio::awaitable<absl::StatusOr<ImageFetcher::Endpoints>> ImageFetcher::Resolve(const ImageUrl& url,
                                                                               TimePoint until,
                                                                               FetchStop& stop) {
  NameResolver::Addresses addresses;
  if (const auto numeric = NumericAddress(url.host)) {
    addresses.push_back(*numeric);
  } else {
    const auto executor = co_await asio::this_coro::executor;
    const auto looked_up = std::make_shared<LookedUp>(executor);
    looked_up->ready.expires_at(until);
    resolver_.Lookup(url.host, [looked_up, executor](absl::StatusOr<NameResolver::Addresses> got) {
      asio::post(executor, [looked_up, got = std::move(got)]() mutable {
        looked_up->result = std::move(got);
        looked_up->ready.cancel();
      });
    });
    const FetchStop::Waiting waiting(stop, [looked_up] { looked_up->ready.cancel(); });
    error_code ignored;
    co_await looked_up->ready.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (stop.stopped()) co_return Stopped();
    if (!looked_up->result) co_return Unreachable(url, beast::error::timeout);
    if (!looked_up->result->ok()) {
      co_return Annotate(looked_up->result->status(), Cat("the host ", url.host));
    }
    addresses = **std::move(looked_up->result);
  }
  Endpoints endpoints;
  for (const auto& address : addresses) {
    if (!options_.private_hosts && !IsPublicAddress(address)) {
      co_return InvalidArgument("the host ", url.host, " has an address that is not public");
    }
    endpoints.emplace_back(address, url.port);
  }
  if (endpoints.empty()) co_return absl::UnavailableError(Cat(url.host, " has no address"));
  co_return endpoints;
}

asio::awaitable<absl::StatusOr<ImageFetcher::Answer>> ImageFetcher::Get(
    const ImageUrl& url, TimePoint until, AdmissionController::Ticket& ticket, FetchStop& stop) {
  const absl::StatusOr<Endpoints> endpoints = co_await Resolve(url, until, stop);
  if (!endpoints.ok()) co_return endpoints.status();
  const auto executor = co_await asio::this_coro::executor;
  beast::ssl_stream<beast::tcp_stream> stream(executor, tls_->context);
  beast::tcp_stream& tcp = beast::get_lowest_layer(stream);
  const FetchStop::Waiting waiting(stop, [&tcp] { tcp.close(); });
  tcp.expires_at(until);
  error_code error;
  co_await tcp.async_connect(*endpoints, asio::redirect_error(asio::use_awaitable, error));
  if (stop.stopped()) co_return Stopped();
  if (error) co_return Unreachable(url, error);
  Answer answer;
  absl::Status status;
  if (url.tls) {
    if (SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str()) != 1) {
      co_return absl::InternalError("cannot name the host to TLS");
    }
    const asio::ssl::host_name_verification verification(url.host);
    stream.set_verify_callback(verification);
    co_await stream.async_handshake(asio::ssl::stream_base::client,
                                    asio::redirect_error(asio::use_awaitable, error));
    if (stop.stopped()) co_return Stopped();
    if (error) co_return Unreachable(url, error);
    status =
        co_await Exchange(stream, url, options_.max_bytes, ticket, answer.redirect, answer.body);
  } else {
    status = co_await Exchange(tcp, url, options_.max_bytes, ticket, answer.redirect, answer.body);
  }
  if (stop.stopped()) co_return Stopped();
  if (!status.ok()) co_return status;
  co_return answer;
}

asio::awaitable<absl::StatusOr<std::string>> ImageFetcher::Fetch(
    std::string address, AdmissionController::Ticket& ticket, FetchStop& stop) {
  const TimePoint until = std::chrono::steady_clock::now() + options_.timeout;
  absl::StatusOr<ImageUrl> url = ImageUrl::Parse(address);
  for (int hops = 0;; ++hops) {
    if (!url.ok()) co_return url.status();
    if (!options_.hosts.Allows(*url)) {
      co_return InvalidArgument("pictures are not fetched from ", url->HostHeader());
    }
    absl::StatusOr<Answer> answer = co_await Get(*url, until, ticket, stop);
    if (!answer.ok()) co_return answer.status();
    if (answer->redirect.empty()) co_return std::move(answer->body);
    if (hops == options_.max_redirects) {
      co_return InvalidArgument("more than ", options_.max_redirects, " redirects");
    }
    url = url->Redirect(answer->redirect);
  }
}

}  // namespace vl2::gateway
