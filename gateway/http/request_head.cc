#include "gateway/http/request_head.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "boost/asio/ip/address.hpp"
#include "gateway/session/request_id.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace http = boost::beast::http;

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::string LowerCase(std::string_view text) { return absl::AsciiStrToLower(std::string(text)); }

std::string_view Stripped(std::string_view text) {
  while (!text.empty() && absl::ascii_isspace(text.front())) text.remove_prefix(1);
  while (!text.empty() && absl::ascii_isspace(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string> Split(std::string_view list) {
  std::vector<std::string> items;
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (const auto item = Stripped(list.substr(0, comma)); !item.empty()) items.emplace_back(item);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return items;
}

template <class Name>
std::string Joined(const http::request_header<>& header, Name name) {
  std::string all;
  const auto [begin, end] = header.equal_range(name);
  for (auto it = begin; it != end; ++it) {
    if (!all.empty()) all += ", ";
    all += View(it->value());
  }
  return all;
}

// "host", "host:port", "[v6]:port" without the port.
std::string HostOf(std::string_view authority) {
  authority = Stripped(authority);
  if (authority.starts_with('[')) {
    return LowerCase(authority.substr(1, std::min(authority.find(']'), authority.size()) - 1));
  }
  std::string host = LowerCase(authority.substr(0, authority.find(':')));
  if (host.ends_with('.')) host.pop_back();
  return host;
}

// Names that no stranger can point at this machine: loopback ones, and those without a dot, which
// nobody can register (a container's name, a name of /etc/hosts).
bool IsLocalName(const std::string& host) {
  if (host.ends_with(".localhost") || host.find_first_of(".:") == std::string::npos) return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  return !error && address.is_loopback();
}

// "scheme://host:port" of the origin is where the request went.
bool IsSameOrigin(const RequestHead& head, std::string_view authority) {
  const size_t scheme_end = head.origin.find("://");
  return scheme_end != std::string::npos &&
         LowerCase(head.origin.substr(scheme_end + 3)) == LowerCase(authority);
}

bool IsTokenCharacter(char c) {
  return absl::ascii_isalnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string::npos;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = absl::ascii_tolower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

absl::Status ReadRequestHead(const http::request_header<>& header, RequestHead& head) {
  std::string_view target = View(header.target());
  std::string authority = Joined(header, http::field::host);
  if (!target.starts_with('/') && target != "*") {
    const size_t scheme_end = target.find("://");
    const std::string scheme = LowerCase(target.substr(0, std::min(scheme_end, size_t{16})));
    if (scheme_end == std::string_view::npos || (scheme != "http" && scheme != "https")) {
      return InvalidArgument("the request's target is neither a path nor an http address");
    }
    target.remove_prefix(scheme_end + 3);
    const size_t path = std::min(target.find_first_of("/?"), target.size());
    authority = std::string(target.substr(0, path));
    target.remove_prefix(path);
  }
  head.path = std::string(target.substr(0, target.find('?')));
  if (head.path.empty()) head.path = "/";
  head.host = HostOf(authority);
  head.x_forwarded_for = Joined(header, "X-Forwarded-For");
  const std::string request_id = Joined(header, "X-Request-Id");
  if (IsRequestId(request_id)) head.x_request_id = request_id;
  // More than one joined with commas are none.
  head.trace = ParseTraceparent(Joined(header, "traceparent"));
  head.forwarded = Joined(header, http::field::forwarded);
  head.origin = std::string(View(header[http::field::origin]));
  if (!head.origin.empty() && IsSameOrigin(head, authority)) head.origin.clear();
  head.posts = header.method() == http::verb::post;
  const std::string type = LowerCase(View(header[http::field::content_type]));
  const std::string_view essence = Stripped(std::string_view(type).substr(0, type.find(';')));
  head.json_type = essence == "application/json" || essence.ends_with("+json");
  head.cross_site = View(header["Sec-Fetch-Site"]) == "cross-site";
  head.preflight = header.method() == http::verb::options && !head.origin.empty() &&
                   !header[http::field::access_control_request_method].empty();
  head.asked_headers = HeaderNames(Joined(header, http::field::access_control_request_headers));
  head.asks_private_network = View(header["Access-Control-Request-Private-Network"]) == "true";
  return absl::OkStatus();
}

WebPageRules::WebPageRules(const Options& options)
    : guarded_(options.loopback && !options.has_key) {
  for (std::string& origin : Split(options.origins)) {
    if (origin == "*") any_origin_ = true;
    while (origin.ends_with('/')) origin.pop_back();
    origins_.push_back(LowerCase(origin));
  }
  for (const std::string& host : Split(options.allowed_hosts)) {
    if (host == "*") any_host_ = true;
    hosts_.push_back(HostOf(host));
  }
}

absl::Status WebPageRules::Check(const RequestHead& head) const {
  if (!guarded_ || any_host_) return absl::OkStatus();
  if (!head.host.empty() && !IsLocalName(head.host) &&
      std::find(hosts_.begin(), hosts_.end(), head.host) == hosts_.end()) {
    return absl::PermissionDeniedError(
        Cat("the Host \"", head.host.substr(0, 100),
            "\" is not a name of this server, which listens for this machine alone and has no key; "
            "--allowed_hosts names others"));
  }
  const bool from_page = !head.origin.empty() || head.cross_site;
  if (head.posts && from_page && !head.json_type && AllowedOrigin(head) != head.origin) {
    return absl::PermissionDeniedError(
        Cat("a web page of another origin posts something else than application/json; "
            "--cors_origin names the origins that may call"));
  }
  return absl::OkStatus();
}

std::optional<std::string> WebPageRules::AllowedOrigin(const RequestHead& head) const {
  if (any_origin_) return "*";
  // A single one is told in any case: the browser compares, and caches keep one answer.
  if (origins_.size() == 1) return origins_.front();
  if (head.origin.empty()) return std::nullopt;
  const auto found = std::find(origins_.begin(), origins_.end(), LowerCase(head.origin));
  if (found == origins_.end()) return std::nullopt;
  return head.origin;
}

std::string HeaderNames(std::string_view list) {
  constexpr int kMaxNames = 64;
  std::string names;
  int count = 0;
  for (const std::string& name : Split(list)) {
    if (!std::all_of(name.begin(), name.end(), IsTokenCharacter) || ++count > kMaxNames) continue;
    if (!names.empty()) names += ", ";
    names += LowerCase(name);
  }
  return names;
}

std::optional<std::string> ModelOfPath(std::string_view path) {
  constexpr std::string_view kPrefix = "/v1/models/";
  if (!path.starts_with(kPrefix) || path.size() == kPrefix.size()) return std::nullopt;
  path.remove_prefix(kPrefix.size());
  std::string name;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      name.push_back(path[i]);
      continue;
    }
    const int high = i + 2 < path.size() ? HexDigit(path[i + 1]) : -1;
    const int low = i + 2 < path.size() ? HexDigit(path[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    name.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return name;
}

}  // namespace vl2::gateway
