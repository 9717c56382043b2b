// AnswerChat: one chat request from its body to the last byte of the answer.
//
// Threading: runs on the stream's executor, a strand. Cancelling the coroutine ends the session.
#pragma once

#include <memory>
#include <string>

#include "boost/asio/awaitable.hpp"
#include "boost/beast/core/tcp_stream.hpp"
#include "gateway/http/server_state.h"

namespace vl2::gateway {

struct ExchangeResult {
  int status = 0;           // HTTP's
  bool keep_alive = false;  // another request may follow on this connection
};

// `http_version` is 10 or 11, as Beast counts. `held_bytes` holds the body's and grows by fetched
// pictures; it outlives the answer.
boost::asio::awaitable<ExchangeResult> AnswerChat(boost::beast::tcp_stream& stream,
                                                  std::shared_ptr<ServerState> state,
                                                  std::string body, unsigned http_version,
                                                  bool keep_alive, ByteReservation& held_bytes);

}  // namespace vl2::gateway
