#include "runtime/trace/http_post.h"

#include "gtest/gtest.h"

namespace vl2 {
namespace {

TEST(HttpEndpoint, ReadsAddresses) {
  const auto plain = ParseHttpEndpoint("http://collector", 4318);
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->ToString(), "collector:4318");
  EXPECT_EQ(plain->path, "");
  const auto full = ParseHttpEndpoint("http://[::1]:80/otlp/", 4318);
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->host, "::1");
  EXPECT_EQ(full->ToString(), "[::1]:80");
  EXPECT_EQ(full->path, "/otlp");
}

TEST(HttpEndpoint, RefusesWhatIsNone) {
  for (const char* address :
       {"", "collector:4318", "https://collector", "http://", "http://:1", "http://a:0",
        "http://a:65536", "http://a:1x", "http://a:", "http://[::1", "http://[::1]x",
        "http://a/\r\nX: y", "http://a b", "http://user@a", "http://a?x"}) {
    EXPECT_FALSE(ParseHttpEndpoint(address, 4318).ok()) << address;
  }
}

}  // namespace
}  // namespace vl2
