// Building of whole HTTP responses.
//
// Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "boost/beast/http/message.hpp"
#include "boost/beast/http/string_body.hpp"
#include "gateway/http/server_state.h"

namespace vl2::gateway {

using Response = boost::beast::http::response<boost::beast::http::string_body>;

// Headers that every response of this server has are set.
Response MakeResponse(const ServerState& state, unsigned http_version, bool keep_alive, int status,
                      std::string_view content_type, std::string body);

// In OpenAI's shape; with Retry-After where trying again makes sense.
Response MakeErrorResponse(const ServerState& state, unsigned http_version, bool keep_alive,
                           const absl::Status& error);

// Server, CORS, and what keeps a browser from guessing types.
void SetFixedHeaders(const ServerState& state, boost::beast::http::fields& fields);

}  // namespace vl2::gateway
