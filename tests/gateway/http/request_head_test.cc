#include "gateway/http/request_head.h"

#include <string>
#include <utility>
#include <vector>

#include "boost/beast/http/empty_body.hpp"
#include "gtest/gtest.h"

namespace vl2::gateway {
namespace {

namespace http = boost::beast::http;
using Fields = std::vector<std::pair<std::string, std::string>>;

absl::Status Read(const char* target, const Fields& fields, RequestHead& head,
                  http::verb method = http::verb::post) {
  http::request<http::empty_body> request(method, target, 11);
  for (const auto& [name, value] : fields) request.insert(name, value);
  return ReadRequestHead(request.base(), head);
}

RequestHead HeadOf(const Fields& fields, http::verb method = http::verb::post) {
  RequestHead head;
  EXPECT_TRUE(Read("/v1/chat/completions", fields, head, method).ok());
  return head;
}

TEST(RequestHead, Targets) {
  const std::pair<const char*, const char*> cases[] = {{"/v1/models?x=1", "/v1/models"},
                                                       {"http://a.b:80/v1/models?x", "/v1/models"},
                                                       {"HTTPS://a.b", "/"},
                                                       {"http://a.b?x", "/"},
                                                       {"*", "*"}};
  for (const auto& [target, path] : cases) {
    RequestHead head;
    ASSERT_TRUE(Read(target, {{"Host", "x"}}, head).ok()) << target;
    EXPECT_EQ(head.path, path) << target;
  }
  for (const char* bad : {"v1/models", "ftp://a/b", "javascript:x", "a.b:443"}) {
    RequestHead head;
    EXPECT_FALSE(Read(bad, {}, head).ok()) << bad;
  }
  // The absolute form's host counts, not the field's (RFC 9112, 3.2.2).
  RequestHead head;
  ASSERT_TRUE(Read("http://Evil.example:80/", {{"Host", "localhost"}}, head).ok());
  EXPECT_EQ(head.host, "evil.example");
}

TEST(RequestHead, Fields) {
  const RequestHead head = HeadOf({{"Host", "[::1]:80"},
                                   {"X-Forwarded-For", "1.1.1.1"},
                                   {"X-Forwarded-For", "2.2.2.2"},
                                   {"Content-Type", "Application/JSON; charset=utf-8"},
                                   {"Origin", "http://[::1]:80"}});
  EXPECT_EQ(head.host, "::1");
  EXPECT_EQ(head.x_forwarded_for, "1.1.1.1, 2.2.2.2");
  EXPECT_TRUE(head.json_type);
  EXPECT_EQ(head.origin, "") << "the server's own";
}

absl::Status Check(const WebPageRules::Options& options, const Fields& fields,
                   http::verb method = http::verb::post) {
  return WebPageRules(options).Check(HeadOf(fields, method));
}

TEST(WebPageRules, ForeignHosts) {
  const WebPageRules::Options open = {.loopback = true};
  for (const char* local : {"localhost", "localhost:8080", "LOCALHOST.", "127.0.0.1:1", "127.9.9.9",
                            "[::1]:8080", "a.localhost", "gateway", ""}) {
    EXPECT_TRUE(Check(open, {{"Host", local}}).ok()) << local;
  }
  for (const char* foreign : {"evil.example", "evil.example:8080", "127.0.0.1.evil.example",
                              "10.0.0.1", "localhost.evil.example", "[2001:db8::1]"}) {
    EXPECT_EQ(Check(open, {{"Host", foreign}}).code(), absl::StatusCode::kPermissionDenied)
        << foreign;
    EXPECT_TRUE(Check({.loopback = false}, {{"Host", foreign}}).ok());
    EXPECT_TRUE(Check({.loopback = true, .has_key = true}, {{"Host", foreign}}).ok());
    EXPECT_TRUE(Check({.allowed_hosts = "*", .loopback = true}, {{"Host", foreign}}).ok());
  }
  EXPECT_TRUE(Check({.allowed_hosts = "a.example, B.example:80", .loopback = true},
                    {{"Host", "b.example:8080"}})
                  .ok());
}

TEST(WebPageRules, PostsOfForeignPages) {
  const WebPageRules::Options open = {.loopback = true};
  const Fields page = {{"Host", "localhost"}, {"Origin", "https://evil.example"}};
  for (const char* simple : {"text/plain", "application/x-www-form-urlencoded",
                             "multipart/form-data; boundary=x", "text/plain; application/json"}) {
    Fields fields = page;
    fields.emplace_back("Content-Type", simple);
    EXPECT_EQ(Check(open, fields).code(), absl::StatusCode::kPermissionDenied) << simple;
    EXPECT_TRUE(Check(open, fields, http::verb::get).ok()) << "a link";
    EXPECT_TRUE(Check({.origins = "https://evil.example", .loopback = true}, fields).ok());
    EXPECT_FALSE(Check({.origins = "https://other.example", .loopback = true}, fields).ok());
    fields[1].second = "http://localhost";
    EXPECT_TRUE(Check(open, fields).ok()) << "the server's own page";
    // No browser.
    EXPECT_TRUE(Check(open, {{"Host", "localhost"}, {"Content-Type", simple}}).ok());
  }
  EXPECT_FALSE(Check(open, page).ok()) << "no type at all";
  EXPECT_FALSE(Check(open, {{"Host", "localhost"}, {"Sec-Fetch-Site", "cross-site"}}).ok());
  Fields json = page;
  json.emplace_back("Content-Type", "application/json");
  EXPECT_TRUE(Check(open, json).ok()) << "needs a preflight, which is refused";
}

TEST(WebPageRules, Origins) {
  const RequestHead a = HeadOf({{"Host", "x"}, {"Origin", "https://A.example"}});
  const RequestHead c = HeadOf({{"Host", "x"}, {"Origin", "https://c.example"}});
  const RequestHead none = HeadOf({{"Host", "x"}});
  const WebPageRules nobody({});
  EXPECT_FALSE(nobody.has_origins());
  EXPECT_EQ(nobody.AllowedOrigin(a), std::nullopt);
  const WebPageRules one({.origins = "https://a.example/"});
  EXPECT_EQ(one.AllowedOrigin(none), "https://a.example");
  EXPECT_EQ(one.AllowedOrigin(c), "https://a.example");
  const WebPageRules two({.origins = "https://a.example, https://b.example"});
  EXPECT_EQ(two.AllowedOrigin(a), "https://A.example");
  EXPECT_EQ(two.AllowedOrigin(c), std::nullopt);
  EXPECT_EQ(two.AllowedOrigin(none), std::nullopt);
  EXPECT_EQ(WebPageRules({.origins = "*"}).AllowedOrigin(c), "*");
}

TEST(HeaderNames, KeepsNamesAlone) {
  EXPECT_EQ(HeaderNames("X-Stainless-OS,  authorization,openai-beta"),
            "x-stainless-os, authorization, openai-beta");
  EXPECT_EQ(HeaderNames("a b, x\r\ny, ok, \"q\", caf\xc3\xa9,,"), "ok");
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "x,";
  EXPECT_LT(HeaderNames(many).size(), 200u);
}

TEST(ModelOfPath, Decodes) {
  EXPECT_EQ(ModelOfPath("/v1/models/demo"), "demo");
  EXPECT_EQ(ModelOfPath("/v1/models/deepseek-ai%2Fdeepseek-vl2"), "deepseek-ai/deepseek-vl2");
  EXPECT_EQ(ModelOfPath("/v1/models/a/b"), "a/b");
  for (const char* none : {"/v1/models", "/v1/models/", "/v1/modelsx", "/v1/models/%4",
                           "/v1/models/%zz", "/v1/models/%"}) {
    EXPECT_EQ(ModelOfPath(none), std::nullopt) << none;
  }
}

}  // namespace
}  // namespace vl2::gateway
