#include "gateway/http/image_url.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "absl/strings/ascii.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

using boost::asio::ip::address_v4;
using boost::asio::ip::address_v6;

absl::StatusOr<uint16_t> ParsePort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > 65535) {
    return InvalidArgument("\"", text, "\" is not a port from 1 to 65535");
  }
  return static_cast<uint16_t>(port);
}

std::string LowerCase(std::string_view text) { return absl::AsciiStrToLower(std::string(text)); }

std::string_view Stripped(std::string_view text) {
  while (!text.empty() && absl::ascii_isspace(text.front())) text.remove_prefix(1);
  while (!text.empty() && absl::ascii_isspace(text.back())) text.remove_suffix(1);
  return text;
}

bool IsNameCharacter(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_'; }

// Of "host", "host:port", "[v6]" and "[v6]:port".
absl::Status SplitAuthority(std::string_view authority, ImageUrl& url) {
  std::string_view rest;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return InvalidArgument("an IPv6 address without ']'");
    url.host = authority.substr(1, close - 1);
    rest = authority.substr(close + 1);
    // A zone names an interface of this machine, and may hold any bytes: addresses in URLs have
    // none.
    const bool has_zone = url.host.find('%') != std::string::npos;
    boost::system::error_code error;
    boost::asio::ip::make_address_v6(url.host, error);
    if (error || has_zone) return InvalidArgument("\"", url.host, "\" is not an IPv6 address");
  } else {
    const size_t colon = authority.find(':');
    url.host = LowerCase(authority.substr(0, colon));
    rest = colon == std::string_view::npos ? "" : authority.substr(colon);
    // A dot at the end means the same host and would slip past the list.
    if (url.host.ends_with('.')) url.host.pop_back();
    if (url.host.empty() || url.host.size() > 253) {
      return InvalidArgument("a host name of ", url.host.size(), " bytes");
    }
    if (url.host.front() == '.' || url.host.back() == '.' ||
        url.host.find("..") != std::string::npos) {
      return InvalidArgument("\"", url.host, "\" has an empty label");
    }
    for (const char c : url.host) {
      if (!IsNameCharacter(c)) return InvalidArgument("\"", url.host, "\" is not a host name");
    }
  }
  url.port = url.tls ? 443 : 80;
  if (rest.empty() || rest == ":") return absl::OkStatus();
  if (rest[0] != ':') return InvalidArgument("\"", authority, "\" is not host:port");
  VL2_ASSIGN_OR_RETURN(url.port, ParsePort(rest.substr(1)));
  return absl::OkStatus();
}

// What browsers write as an escape in paths and queries (WHATWG URL, path percent-encode set).
bool MustBeEscaped(char c) {
  return c == ' ' || static_cast<unsigned char>(c) >= 0x80 ||
         std::string_view("\"<>`{}^").find(c) != std::string_view::npos;
}

std::string Escaped(std::string_view target) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string escaped;
  for (const char c : target) {
    if (!MustBeEscaped(c)) {
      escaped.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    escaped += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return escaped;
}

// Removes "." and ".." of a path that begins with '/' (RFC 3986, 5.2.4); the query is left alone.
std::string WithoutDots(std::string_view target) {
  const size_t end = std::min(target.find('?'), target.size());
  const std::string_view query = target.substr(end);
  std::string_view rest = target.substr(0, end);
  std::string path;
  while (!rest.empty()) {
    const size_t next = std::min(rest.find('/', 1), rest.size());
    const std::string_view segment = rest.substr(0, next);
    rest.remove_prefix(next);
    if (segment == "/.." || segment == "/.") {
      if (segment == "/.." && !path.empty()) path.resize(path.rfind('/'));
      if (rest.empty()) path += '/';
      continue;
    }
    path += segment;
  }
  return path + std::string(query);
}

// "scheme:" at the front.
bool HasScheme(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !absl::ascii_isalpha(text[0])) return false;
  for (const char c : text.substr(0, colon)) {
    if (!absl::ascii_isalnum(c) && c != '+' && c != '-' && c != '.') return false;
  }
  return true;
}

struct V4Range {
  std::array<uint8_t, 4> base;
  int bits;
};
constexpr V4Range kNotPublicV4[] = {
    {{0, 0, 0, 0}, 8},      {{10, 0, 0, 0}, 8},     {{100, 64, 0, 0}, 10}, {{127, 0, 0, 0}, 8},
    {{169, 254, 0, 0}, 16}, {{172, 16, 0, 0}, 12},  {{192, 0, 0, 0}, 24},  {{192, 0, 2, 0}, 24},
    {{192, 88, 99, 0}, 24}, {{192, 168, 0, 0}, 16}, {{198, 18, 0, 0}, 15}, {{198, 51, 100, 0}, 24},
    {{203, 0, 113, 0}, 24}, {{224, 0, 0, 0}, 3},
};

bool IsPublicV4(const address_v4& address) {
  const uint32_t bits = address.to_uint();
  for (const V4Range& range : kNotPublicV4) {
    const uint32_t base = address_v4(range.base).to_uint();
    if ((bits ^ base) >> (32 - range.bits) == 0) return false;
  }
  return true;
}

bool IsPublicV6(const address_v6& address) {
  if (address.is_v4_mapped()) {
    return IsPublicV4(boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address));
  }
  const address_v6::bytes_type b = address.to_bytes();
  if ((b[0] & 0xe0) != 0x20) return false;                        // outside 2000::/3
  if (b[0] == 0x20 && b[1] == 0x01 && b[2] < 0x02) return false;  // 2001::/23, Teredo among them
  if (b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8) return false;  // documentation
  if (b[0] == 0x20 && b[1] == 0x02) return false;                                  // 6to4
  if (b[0] == 0x3f && b[1] == 0xff && b[2] < 0x10) return false;  // 3fff::/20, documentation
  return true;
}

}  // namespace

std::string ImageUrl::HostHeader() const {
  const std::string name = host.find(':') == std::string::npos ? host : Cat("[", host, "]");
  return default_port() ? name : Cat(name, ":", port);
}

absl::StatusOr<ImageUrl> ImageUrl::Parse(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return InvalidArgument("an address of ", text.size(), " bytes, the limit is ", kMaxBytes);
  }
  text = Stripped(text);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f || c == '\\') {
      return InvalidArgument("the address has a control character or a backslash");
    }
  }
  ImageUrl url;
  const size_t scheme_end = text.find("://");
  const std::string scheme = LowerCase(text.substr(0, scheme_end));
  if (scheme_end == std::string_view::npos || (scheme != "http" && scheme != "https")) {
    return InvalidArgument("only http:// and https:// addresses are fetched");
  }
  url.tls = scheme == "https";
  text.remove_prefix(scheme_end + 3);
  text = text.substr(0, text.find('#'));
  const size_t path = text.find_first_of("/?");
  const std::string_view authority = text.substr(0, path);
  if (authority.find('@') != std::string_view::npos) {
    return InvalidArgument("an address with a user name is not fetched");
  }
  VL2_RETURN_IF_ERROR(SplitAuthority(authority, url));
  url.target = path == std::string_view::npos ? "/" : Escaped(text.substr(path));
  if (url.target[0] == '?') url.target.insert(0, "/");
  url.target = WithoutDots(url.target);
  return url;
}

absl::StatusOr<ImageUrl> ImageUrl::Redirect(std::string_view location) const {
  location = Stripped(location);
  location = location.substr(0, location.find('#'));
  const std::string scheme = tls ? "https:" : "http:";
  const std::string here = Cat(scheme, "//", HostHeader());
  if (location.starts_with("//")) return Parse(scheme + std::string(location));
  if (location.starts_with('/')) return Parse(here + std::string(location));
  if (!HasScheme(location)) {
    // Relative to this address (RFC 3986, 5.2.3).
    const std::string path = target.substr(0, target.find('?'));
    if (location.empty()) return Parse(here + target);
    if (location.starts_with('?')) return Parse(Cat(here, path, location));
    return Parse(Cat(here, path.substr(0, path.rfind('/') + 1), location));
  }
  VL2_ASSIGN_OR_RETURN(ImageUrl next, Parse(location));
  if (tls && !next.tls) return InvalidArgument("a redirect from https to http is not followed");
  return next;
}

absl::StatusOr<HostAllowList> HostAllowList::Parse(std::string_view text) {
  HostAllowList list;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view item = Stripped(text.substr(0, comma));
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
    if (item.empty()) continue;
    Entry entry;
    const size_t colon = item.rfind(':');
    const std::string_view host = item.substr(0, colon);
    if (colon != std::string_view::npos) {
      const auto port = ParsePort(item.substr(colon + 1));
      if (!port.ok()) return InvalidArgument("\"", item, "\": ", Message(port.status()));
      entry.port = *port;
    }
    entry.below = host == "*" || host.starts_with('.');
    entry.host = host == "*" ? "" : LowerCase(host.substr(entry.below ? 1 : 0));
    bool valid = host == "*" || !entry.host.empty();
    for (const char c : entry.host) valid = valid && IsNameCharacter(c);
    if (!valid) return InvalidArgument("\"", item, "\" is not host, .host or *, with :port or not");
    list.entries_.push_back(std::move(entry));
  }
  return list;
}

bool HostAllowList::Allows(const ImageUrl& url) const {
  for (const Entry& entry : entries_) {
    if (entry.port == 0 ? !url.default_port() : url.port != entry.port) continue;
    if (url.host == entry.host || (entry.below && entry.host.empty())) return true;
    if (entry.below && url.host.ends_with(Cat(".", entry.host))) return true;
  }
  return false;
}

bool IsPublicAddress(const boost::asio::ip::address& address) {
  return address.is_v4() ? IsPublicV4(address.to_v4()) : IsPublicV6(address.to_v6());
}

}  // namespace vl2::gateway
