// ServeConnection: one client's connection, request after request, until it closes.
//
// Threading: runs on the socket's executor, which must be a strand.
#pragma once

#include <memory>

#include "boost/asio/awaitable.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "gateway/http/server_state.h"

namespace vl2::gateway {

boost::asio::awaitable<void> ServeConnection(boost::asio::ip::tcp::socket socket,
                                             std::shared_ptr<ServerState> state);

}  // namespace vl2::gateway
