#include "gateway/http/server_state.h"

#include <string>
#include <utility>

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

ServerState::ServerState(const HttpOptions& options, const ChatBackend& backend,
                         GatewayMetrics& metrics, std::function<absl::Status()> pools)
    : options(options),
      backend(backend),
      metrics(metrics),
      pools(std::move(pools)),
      web_pages({.origins = options.cors_origin,
                 .allowed_hosts = options.allowed_hosts,
                 .loopback = IsLoopback(options.listen),
                 .has_key = options.keys != nullptr}),
      fetcher(options.fetch),
      admission(options.max_in_flight, options.max_held_body_bytes),
      parse_threads(static_cast<size_t>(options.num_parse_threads)) {}

}  // namespace vl2::gateway
