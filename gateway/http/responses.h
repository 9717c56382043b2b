// Whole HTTP responses, and the headers that all responses have.
//
// Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "boost/beast/http/message.hpp"
#include "boost/beast/http/string_body.hpp"

namespace vl2::gateway {

using Response = boost::beast::http::response<boost::beast::http::string_body>;

// What one request decides of every answer to it.
struct ResponseStyle {
  unsigned http_version = 11;
  bool keep_alive = false;
  std::string request_id;                     // X-Request-Id; empty: none is told
  bool varies_by_origin = false;              // some origins may call
  std::optional<std::string> allowed_origin;  // Access-Control-Allow-Origin
};

void SetFixedHeaders(const ResponseStyle& style, boost::beast::http::fields& fields);

Response MakeResponse(const ResponseStyle& style, int status, std::string_view content_type,
                      std::string body);
// JSON in OpenAI's shape; HttpStatusOf(error) is its status.
Response MakeErrorResponse(const ResponseStyle& style, const absl::Status& error);

}  // namespace vl2::gateway
