#include "gateway/http/responses.h"

#include <algorithm>
#include <string>
#include <utility>

#include "gateway/http/chat_response.h"
#include "runtime/base/error_details.h"

namespace vl2::gateway {

namespace http = boost::beast::http;

void SetFixedHeaders(const ResponseStyle& style, http::fields& fields) {
  fields.set(http::field::server, "vl2serve");
  fields.set("X-Content-Type-Options", "nosniff");
  if (!style.request_id.empty()) fields.set("X-Request-Id", style.request_id);
  if (style.varies_by_origin) fields.set(http::field::vary, "Origin");
  if (style.allowed_origin) {
    fields.set(http::field::access_control_allow_origin, *style.allowed_origin);
    fields.set(http::field::access_control_expose_headers, "Retry-After, X-Request-Id");
  }
}

Response MakeResponse(const ResponseStyle& style, int status, std::string_view content_type,
                      std::string body) {
  Response response;
  response.version(style.http_version);
  response.result(static_cast<unsigned>(status));
  if (status == 499) response.reason("Client Closed Request");
  SetFixedHeaders(style, response);
  response.set(http::field::content_type,
               boost::beast::string_view(content_type.data(), content_type.size()));
  response.keep_alive(style.keep_alive);
  response.body() = std::move(body);
  response.prepare_payload();
  return response;
}

Response MakeErrorResponse(const ResponseStyle& style, const absl::Status& error) {
  const int status = HttpStatusOf(error);
  Response response = MakeResponse(style, status, "application/json", ErrorBody(error));
  if (status == 429 || status == 503) {
    response.set(http::field::retry_after, std::to_string(std::max(1, RetryAfterOf(error))));
  }
  if (status == 401) response.set(http::field::www_authenticate, "Bearer");
  return response;
}

}  // namespace vl2::gateway
