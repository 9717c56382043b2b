// AnswerChat: one chat request over HTTP, from its body to the end of its answer.
//
// The status line waits for the first token, so that what is refused is refused with a status of
// its own, streamed or not; for no longer, though, than a client should be left in silence. A
// stream that has begun ends with "[DONE]", after an error event where it failed.
//
// Threading: the connection's strand. Ends by itself soon after the inbox has been interrupted.
#pragma once

#include <memory>
#include <string>

#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "gateway/http/exchange_inbox.h"
#include "gateway/http/responses.h"
#include "gateway/http/server_state.h"
#include "gateway/http/socket_deadline.h"
#include "gateway/session/admission_controller.h"
#include "gateway/session/request_record.h"

namespace vl2::gateway {

struct ExchangeResult {
  int status = 0;  // what was answered; 499: the client has left
  bool keep_alive = false;
};

struct ChatExchange {
  std::shared_ptr<ServerState> state;
  std::shared_ptr<ExchangeInbox> inbox;
  std::unique_ptr<AdmissionController::Ticket> ticket;  // has entered
  std::string client_id;
  int priority = 0;
  std::unique_ptr<ApiKeys::Use> key;  // null: keys are not asked for
  std::shared_ptr<RequestRecord> record;
  std::string body;
  ResponseStyle style;
};

// `socket` and `deadline` outlive the coroutine.
boost::asio::awaitable<ExchangeResult> AnswerChat(boost::asio::ip::tcp::socket& socket,
                                                  SocketDeadline& deadline, ChatExchange exchange);

}  // namespace vl2::gateway
