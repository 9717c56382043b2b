// RequestHead: what a request's first lines say, and whether a web page may have sent it.
//
// Pure functions over the header's fields.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "boost/beast/http/fields.hpp"
#include "boost/beast/http/message.hpp"
#include "runtime/trace/trace_context.h"

namespace vl2::gateway {

struct RequestHead {
  std::string path;  // "/v1/models"; the query is cut off
  std::string host;  // without port, lower case; empty: none was given
  // All values of a name, joined with commas.
  std::string x_forwarded_for;
  std::string forwarded;
  std::string x_request_id;  // empty: none that can be taken
  TraceContext trace;        // of traceparent; not valid() when there is none that can be taken
  std::string origin;        // of the web page that asks; empty: none says so
  bool posts = false;        // a POST
  bool json_type = false;    // of its body
  // Told by browsers: the page comes from another site.
  bool cross_site = false;
  // Of a CORS preflight.
  bool preflight = false;
  std::string asked_headers;
  bool asks_private_network = false;
};

// Target forms: origin ("/path"), absolute ("http://host/path", whose host counts), "*".
// INVALID_ARGUMENT for anything else.
absl::Status ReadRequestHead(const boost::beast::http::request_header<>& header, RequestHead& head);

// Which web pages may call, and by which names this server is called.
class WebPageRules {
 public:
  struct Options {
    std::string origins = {};  // comma-separated origins, or "*"; empty: no page of another origin
    // Names beside loopback ones and those without a dot, comma-separated; "*": every one.
    std::string allowed_hosts = {};
    bool loopback = false;  // listens where this machine alone reaches it
    bool has_key = false;   // clients must show a key
  };
  explicit WebPageRules(const Options& options);

  // A loopback server without a key is open to every program of its machine, a browser among them,
  // which any web page drives. A page reaches it under a name of its own that it points here (DNS
  // rebinding), or by a post that needs no preflight. Both are refused: PERMISSION_DENIED names the
  // header and the flag that allows it.
  absl::Status Check(const RequestHead& head) const;

  // Access-Control-Allow-Origin for this request; nothing when its origin may not call.
  std::optional<std::string> AllowedOrigin(const RequestHead& head) const;
  bool has_origins() const { return any_origin_ || !origins_.empty(); }

 private:
  const bool guarded_;
  bool any_origin_ = false;
  bool any_host_ = false;
  std::vector<std::string> origins_;
  std::vector<std::string> hosts_;
};

// The names of `list` that are header names, lower case, joined with ", "; at most 64.
std::string HeaderNames(std::string_view list);

// "/v1/models/{id}" with percent-escapes decoded; nothing for another path, or a broken escape.
std::optional<std::string> ModelOfPath(std::string_view path);

}  // namespace vl2::gateway
