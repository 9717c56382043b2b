#include "gateway/http/image_fetcher.h"

#include <optional>
#include <utility>
#include <vector>

#include "boost/asio/connect.hpp"
#include "boost/asio/experimental/awaitable_operators.hpp"
#include "boost/asio/ip/tcp.hpp"
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
using TimePoint = std::chrono::steady_clock::time_point;

constexpr uint32_t kMaxHeaderBytes = 16 << 10;

absl::Status Unreachable(const ImageUrl& url, const error_code& error) {
  if (error == beast::error::timeout) {
    return absl::DeadlineExceededError(Cat("the host ", url.host, " took too long"));
  }
  return absl::UnavailableError(Cat("the host ", url.host, ": ", error.message()));
}

// The host's addresses, all of them allowed. A name service that is silent is not waited for.
asio::awaitable<absl::StatusOr<std::vector<tcp::endpoint>>> Resolve(const ImageUrl& url,
                                                                    TimePoint until,
                                                                    bool private_hosts) {
  using asio::experimental::awaitable_operators::operator||;
  const auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  asio::steady_timer timer(executor, until);
  error_code error, ignored;
  const std::string port = std::to_string(url.port);
  auto resolved = resolver.async_resolve(url.host, port, tcp::resolver::numeric_service,
                                         asio::redirect_error(asio::use_awaitable, error));
  auto expired = timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  auto first = co_await (std::move(resolved) || std::move(expired));
  if (first.index() == 1) co_return Unreachable(url, beast::error::timeout);
  if (error) co_return Unreachable(url, error);
  std::vector<tcp::endpoint> endpoints;
  for (const auto& entry : std::get<0>(first)) {
    if (!private_hosts && !IsPublicAddress(entry.endpoint().address())) {
      co_return InvalidArgument("the host ", url.host, " has an address that is not public");
    }
    endpoints.push_back(entry.endpoint());
  }
  if (endpoints.empty()) co_return absl::UnavailableError(Cat(url.host, " has no address"));
  co_return endpoints;
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

// One GET over a connected stream; tcp is the stream's lowest layer, which keeps the time.
template <class Stream>
asio::awaitable<absl::Status> Exchange(Stream& stream, const ImageUrl& url, int64_t max_bytes,
                                       ByteReservation& held, std::string& redirect,
                                       std::string& body) {
  error_code error;
  http::request<http::empty_body> request(http::verb::get, url.target, 11);
  request.set(http::field::host, url.HostHeader());
  request.set(http::field::user_agent, "vl2serve");
  request.set(http::field::accept, "image/*");
  request.set(http::field::accept_encoding, "identity");
  request.set(http::field::connection, "close");
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Unreachable(url, error);

  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.header_limit(kMaxHeaderBytes);
  parser.body_limit(static_cast<uint64_t>(max_bytes));
  const auto too_large = [&] {
    return InvalidArgument("the picture at ", url.host, " has more than ", max_bytes, " bytes");
  };
  co_await http::async_read_header(stream, buffer, parser,
                                   asio::redirect_error(asio::use_awaitable, error));
  if (error == http::error::body_limit) co_return too_large();
  if (error) co_return Unreachable(url, error);
  const unsigned status = parser.get().result_int();
  if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) {
    const auto location = parser.get()[http::field::location];
    redirect.assign(location.data(), location.size());
    if (redirect.empty()) co_return InvalidArgument(url.host, " redirects to nowhere");
    co_return absl::OkStatus();
  }
  if (status != 200) co_return InvalidArgument("the host ", url.host, " answered ", status);
  const int64_t before = held.bytes();
  while (!parser.is_done()) {
    co_await http::async_read_some(stream, buffer, parser,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error == http::error::body_limit) co_return too_large();
    if (error) co_return Unreachable(url, error);
    if (!held.HoldAtLeast(before + static_cast<int64_t>(parser.get().body().size()))) {
      co_return absl::ResourceExhaustedError("the server holds as many request bytes as it may");
    }
  }
  body = std::move(parser.get().body());
  if (body.empty()) co_return InvalidArgument("the host ", url.host, " answered with 0 bytes");
  co_return absl::OkStatus();
}

}  // namespace

ImageFetcher::ImageFetcher(ImageFetchOptions options)
    : options_(std::move(options)), tls_(enabled() ? std::make_unique<Tls>() : nullptr) {}

ImageFetcher::~ImageFetcher() = default;

asio::awaitable<absl::StatusOr<ImageFetcher::Answer>> ImageFetcher::Get(
    const ImageUrl& url, TimePoint until, ByteReservation& held) const {
  const auto endpoints = co_await Resolve(url, until, options_.private_hosts);
  if (!endpoints.ok()) co_return endpoints.status();
  const auto executor = co_await asio::this_coro::executor;
  beast::ssl_stream<beast::tcp_stream> stream(executor, tls_->context);
  beast::tcp_stream& tcp = beast::get_lowest_layer(stream);
  tcp.expires_at(until);
  error_code error;
  co_await tcp.async_connect(*endpoints, asio::redirect_error(asio::use_awaitable, error));
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
    if (error) co_return Unreachable(url, error);
    status = co_await Exchange(stream, url, options_.max_bytes, held, answer.redirect, answer.body);
  } else {
    status = co_await Exchange(tcp, url, options_.max_bytes, held, answer.redirect, answer.body);
  }
  if (!status.ok()) co_return status;
  co_return answer;
}

asio::awaitable<absl::StatusOr<std::string>> ImageFetcher::Fetch(std::string address,
                                                                 ByteReservation& held) const {
  const TimePoint until = std::chrono::steady_clock::now() + options_.timeout;
  absl::StatusOr<ImageUrl> url = ImageUrl::Parse(address);
  for (int hops = 0;; ++hops) {
    if (!url.ok()) co_return url.status();
    if (!options_.hosts.Allows(*url)) {
      co_return InvalidArgument("pictures are not fetched from ", url->HostHeader());
    }
    absl::StatusOr<Answer> answer = co_await Get(*url, until, held);
    if (!answer.ok()) co_return answer.status();
    if (answer->redirect.empty()) co_return std::move(answer->body);
    if (hops == options_.max_redirects) {
      co_return InvalidArgument("more than ", options_.max_redirects, " redirects");
    }
    url = url->Redirect(answer->redirect);
  }
}

}  // namespace vl2::gateway
