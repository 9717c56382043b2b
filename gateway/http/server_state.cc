#include "gateway/http/server_state.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"

namespace vl2::gateway {
namespace {

bool IsLoopback(const std::string& listen) {
  const auto where = ParseHostPort(listen);
  if (!where.ok()) return false;
  if (where->host == "localhost") return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(where->host, error);
  return !error && address.is_loopback();
}

}  // namespace

ServerState::ServerState(const HttpOptions& options, const ChatBackend& backend, Metrics& metrics,
                         std::function<absl::Status()> pools)
    : options(options),
      backend(backend),
      metrics(metrics),
      pools(std::move(pools)),
      web_pages({.origins = options.cors_origin,
                 .allowed_hosts = options.allowed_hosts,
                 .loopback = IsLoopback(options.listen),
                 .has_key = !options.api_key.empty()}),
      first_token_ms(metrics.Histogram("vl2_gateway_first_token_ms",
                                       "Milliseconds from a request's arrival to its first token",
                                       DecimalBounds(1, 100'000))),
      prompt_tokens(metrics.Counter("vl2_gateway_prompt_tokens_total", "Tokens of prompts")),
      generated_tokens(metrics.Counter("vl2_gateway_generated_tokens_total", "Tokens of answers")),
      fetcher(options.fetch),
      admission(options.max_in_flight, options.max_held_body_bytes),
      parse_threads(static_cast<size_t>(options.num_parse_threads)) {}

MetricHistogram ServerState::RequestMs(const absl::Status& status) {
  // "OK", "CANCELLED", "INVALID_ARGUMENT": a small fixed set.
  const std::string code = absl::AsciiStrToLower(absl::StatusCodeToString(status.code()));
  return metrics.Histogram("vl2_gateway_request_ms",
                           "Milliseconds from a request's arrival to its end, by how it ended",
                           DecimalBounds(1, 1'000'000), {{"code", code}});
}

}  // namespace vl2::gateway
