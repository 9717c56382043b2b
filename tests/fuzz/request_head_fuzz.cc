// The head of an HTTP request: bytes as they come from a socket, through the parser that
// connections use, to what is decided by it: path, host, model, origin, client. What is refused is
// refused in few words; what is answered holds nothing that could end a header line.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "boost/asio/buffer.hpp"
#include "boost/beast/http/parser.hpp"
#include "gateway/http/growing_body.h"
#include "gateway/http/request_head.h"
#include "gateway/session/client_identity.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

namespace http = boost::beast::http;

constexpr size_t kMaxMessageBytes = 500;

bool IsOneLine(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

void CheckRules(const WebPageRules::Options& options, const RequestHead& head) {
  const WebPageRules rules(options);
  const absl::Status allowed = rules.Check(head);
  VL2_CHECK(Message(allowed).size() < kMaxMessageBytes) << allowed;
  const auto origin = rules.AllowedOrigin(head);
  VL2_CHECK(!origin || IsOneLine(*origin)) << *origin;
}

void Run(std::string_view bytes) {
  http::request_parser<GrowingBody> parser;
  parser.header_limit(32 << 10);
  parser.body_limit(1 << 20);
  parser.eager(true);
  boost::system::error_code error;
  for (size_t begin = 0; begin < bytes.size() && !error && !parser.is_done();) {
    const size_t taken = parser.put(boost::asio::buffer(bytes.substr(begin)), error);
    if (taken == 0) break;
    begin += taken;
  }
  if (error || !parser.is_header_done()) return;
  RequestHead head;
  const absl::Status status = ReadRequestHead(parser.get().base(), head);
  VL2_CHECK(Message(status).size() < kMaxMessageBytes) << status;
  if (!status.ok()) return;
  VL2_CHECK(head.path.find('?') == std::string::npos);
  VL2_CHECK(IsOneLine(head.asked_headers)) << head.asked_headers;
  CheckRules({.origins = "https://a.example,https://b.example", .loopback = true}, head);
  CheckRules({.origins = "*"}, head);
  ModelOfPath(head.path);
  static const TrustedProxies proxies = *TrustedProxies::Parse("0.0.0.0/0,::/0");
  const auto client = ClientAddress(boost::asio::ip::make_address("10.0.0.1"), head.x_forwarded_for,
                                    head.forwarded, proxies);
  VL2_CHECK(ClientId(client).size() == 24);
  AddressOfGrpcPeer(head.host);
}

}  // namespace
}  // namespace vl2::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vl2::gateway::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
