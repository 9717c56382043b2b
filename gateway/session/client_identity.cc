#include "gateway/session/client_identity.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace ip = boost::asio::ip;

ip::address_v6 Mapped(const ip::address& address) {
  return address.is_v4() ? ip::make_address_v6(ip::v4_mapped, address.to_v4()) : address.to_v6();
}

// The same address however it is written: ::ffff:1.2.3.4 is 1.2.3.4.
ip::address Plain(const ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return ip::make_address_v4(ip::v4_mapped, address.to_v6());
  }
  return address;
}

std::string_view Stripped(std::string_view text) {
  while (!text.empty() && absl::ascii_isspace(text.front())) text.remove_prefix(1);
  while (!text.empty() && absl::ascii_isspace(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<ip::address> ParseAddress(std::string_view text) {
  boost::system::error_code error;
  const ip::address address = ip::make_address(std::string(text), error);
  if (error) return std::nullopt;
  return Plain(address);
}

// "1.2.3.4", "1.2.3.4:56", "[v6]", "[v6]:56", "v6", with quotes around or not.
std::optional<ip::address> ParseNode(std::string_view text) {
  text = Stripped(text);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  if (text.starts_with('[')) return ParseAddress(text.substr(1, text.find(']') - 1));
  if (std::count(text.begin(), text.end(), ':') == 1) text = text.substr(0, text.find(':'));
  return ParseAddress(text);
}

// The for= parameter of one element of Forwarded; empty without one.
std::string_view ForParameter(std::string_view element) {
  while (!element.empty()) {
    const size_t end = std::min(element.find(';'), element.size());
    const std::string_view pair = Stripped(element.substr(0, end));
    if (pair.size() >= 4 && absl::EqualsIgnoreCase(std::string(pair.substr(0, 4)), "for=")) {
      return pair.substr(4);
    }
    element.remove_prefix(std::min(end + 1, element.size()));
  }
  return {};
}

}  // namespace

absl::StatusOr<TrustedProxies> TrustedProxies::Parse(std::string_view text) {
  TrustedProxies proxies;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = Stripped(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (item.empty()) continue;
    const size_t slash = std::min(item.find('/'), item.size());
    const auto address = ParseAddress(item.substr(0, slash));
    if (!address) return InvalidArgument("\"", item, "\" is not an address or a network");
    const int width = address->is_v4() ? 32 : 128;
    int num_bits = width;
    if (slash < item.size()) {
      const std::string_view number = item.substr(slash + 1);
      const auto [end, error] =
          std::from_chars(number.data(), number.data() + number.size(), num_bits);
      if (error != std::errc() || end != number.data() + number.size() || num_bits < 0 ||
          num_bits > width) {
        return InvalidArgument("\"", item, "\" has not a prefix of 0 to ", width, " bits");
      }
    }
    proxies.networks_.push_back({Mapped(*address), num_bits + 128 - width});
  }
  return proxies;
}

bool TrustedProxies::Contains(const ip::address& address) const {
  const ip::address_v6::bytes_type bytes = Mapped(address).to_bytes();
  for (const Network& network : networks_) {
    const ip::address_v6::bytes_type base = network.base.to_bytes();
    bool same = true;
    for (int bit = 0; bit < network.num_bits && same; ++bit) {
      const auto byte = static_cast<size_t>(bit / 8);
      same = ((bytes[byte] ^ base[byte]) & (0x80 >> (bit % 8))) == 0;
    }
    if (same) return true;
  }
  return false;
}

ip::address ClientAddress(const ip::address& peer, std::string_view x_forwarded_for,
                          std::string_view forwarded, const TrustedProxies& proxies) {
  ip::address client = Plain(peer);
  const bool standard = Stripped(x_forwarded_for).empty();
  std::string_view rest = standard ? forwarded : x_forwarded_for;
  // From the last one, which the peer itself has added, backwards.
  while (!rest.empty() && proxies.Contains(client)) {
    const size_t comma = rest.rfind(',');
    const std::string_view last = comma == std::string_view::npos ? rest : rest.substr(comma + 1);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(0, comma);
    const auto address = ParseNode(standard ? ForParameter(last) : last);
    // "unknown", an obfuscated name, nonsense: who is behind it cannot be told.
    if (!address) break;
    client = *address;
  }
  return client;
}

ip::address AddressOfGrpcPeer(std::string_view peer) {
  const size_t scheme = peer.find(':');
  if (scheme == std::string_view::npos || !peer.starts_with("ip")) return {};
  std::string node(peer.substr(scheme + 1));
  for (const auto& [escape, plain] : {std::pair("%5B", "["), std::pair("%5D", "]")}) {
    if (const size_t at = node.find(escape); at != std::string::npos) node.replace(at, 3, plain);
  }
  return ParseNode(node).value_or(ip::address());
}

std::string ClientId(const ip::address& address) {
  ip::address_v6::bytes_type bytes = Mapped(Plain(address)).to_bytes();
  if (Plain(address).is_v6()) std::fill(bytes.begin() + 8, bytes.end(), 0);
  Sha256 sha;
  sha.Update("vl2 client address\n");
  sha.Update(bytes.data(), bytes.size());
  constexpr size_t kNumDigits = 24;
  return ToHex(sha.Finish()).substr(0, kNumDigits);
}

}  // namespace vl2::gateway
