#include "runtime/rpc/host_port.h"

#include <charconv>

#include "runtime/base/status.h"

namespace vl2 {

std::string HostPort::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? Cat("[", host, "]:", port) : Cat(host, ":", port);
}

absl::StatusOr<HostPort> ParseHostPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return InvalidArgument("'", text, "' is not host:port");
  HostPort result;
  result.host = text.substr(0, colon);
  if (result.host.size() >= 2 && result.host.front() == '[' && result.host.back() == ']') {
    result.host = result.host.substr(1, result.host.size() - 2);
  } else if (result.host.find_first_of(":[]") != std::string::npos) {
    return InvalidArgument("'", text, "' is not host:port; write [address]:port for version 6");
  }
  const char* const begin = text.data() + colon + 1;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(begin, end, result.port);
  if (result.host.empty() || error != std::errc() || stopped != end || result.port < 0 ||
      result.port > 65535) {
    return InvalidArgument("'", text, "' is not host:port with a port from 0 to 65535");
  }
  return result;
}

absl::Status CheckAdvertised(const std::string& advertise) {
  if (advertise.empty()) return absl::OkStatus();
  VL2_ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(advertise));
  if (where.port > 0) return absl::OkStatus();
  return InvalidArgument("--advertise ", advertise, " needs a port from 1 to 65535");
}

}  // namespace vl2
