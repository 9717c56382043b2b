// StreamWriter: writes a response whose length is not known before: in chunks, or, to a client of
// HTTP/1.0, up to the connection's end.
//
// Threading: the connection's strand. Errors: failed() after the first write that did not get
// through or took longer than kWriteTimeout; later writes do nothing.
#pragma once

#include <chrono>
#include <string>

#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "boost/asio/write.hpp"
#include "boost/beast/http/chunk_encode.hpp"
#include "boost/beast/http/empty_body.hpp"
#include "boost/beast/http/serializer.hpp"
#include "boost/beast/http/write.hpp"
#include "gateway/http/responses.h"
#include "gateway/http/socket_deadline.h"

namespace vl2::gateway {

// Time for a client to take what has been written.
inline constexpr auto kWriteTimeout = std::chrono::seconds(60);

class StreamWriter {
 public:
  StreamWriter(boost::asio::ip::tcp::socket& socket, SocketDeadline& deadline,
               const ResponseStyle& style)
      : socket_(socket),
        deadline_(deadline),
        style_(style),
        chunked_(style.http_version >= 11),
        keep_alive_(style.keep_alive && chunked_) {}

  boost::asio::awaitable<void> WriteHeader(std::string first_events) {
    namespace http = boost::beast::http;
    http::response<http::empty_body> response;
    response.version(chunked_ ? 11 : 10);
    response.result(http::status::ok);
    SetFixedHeaders(style_, response);
    response.set(http::field::content_type, "text/event-stream; charset=utf-8");
    response.set(http::field::cache_control, "no-cache");
    response.set("X-Accel-Buffering", "no");  // proxies pass events on at once
    response.keep_alive(keep_alive_);
    response.chunked(chunked_);
    http::response_serializer<http::empty_body> serializer(response);
    started_ = true;
    deadline_.After(kWriteTimeout);
    co_await http::async_write_header(
        socket_, serializer, boost::asio::redirect_error(boost::asio::use_awaitable, error_));
    deadline_.Stop();
    co_await Write(std::move(first_events));
  }

  boost::asio::awaitable<void> Write(std::string text) {
    if (text.empty() || error_) co_return;
    deadline_.After(kWriteTimeout);
    if (chunked_) {
      co_await boost::asio::async_write(
          socket_, boost::beast::http::make_chunk(boost::asio::buffer(text)),
          boost::asio::redirect_error(boost::asio::use_awaitable, error_));
    } else {
      co_await boost::asio::async_write(
          socket_, boost::asio::buffer(text),
          boost::asio::redirect_error(boost::asio::use_awaitable, error_));
    }
    deadline_.Stop();
  }

  boost::asio::awaitable<void> End() {
    if (!chunked_ || error_) co_return;
    deadline_.After(kWriteTimeout);
    co_await boost::asio::async_write(
        socket_, boost::beast::http::make_chunk_last(),
        boost::asio::redirect_error(boost::asio::use_awaitable, error_));
    deadline_.Stop();
  }

  bool started() const { return started_; }
  bool failed() const { return error_.failed(); }
  bool keep_alive() const { return keep_alive_ && !error_; }

 private:
  boost::asio::ip::tcp::socket& socket_;
  SocketDeadline& deadline_;
  const ResponseStyle& style_;
  const bool chunked_;
  const bool keep_alive_;
  bool started_ = false;
  boost::system::error_code error_;
};

}  // namespace vl2::gateway
