#include "runtime/rpc/host_port.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

TEST(HostPort, RoundTrip) {
  for (const char* text : {"localhost:80", "10.0.0.1:65535", "[::1]:0", "a-b.c:1"}) {
    const auto parsed = ParseHostPort(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->ToString(), text);
  }
  for (const char* text : {"", "host", ":80", "host:", "host:x", "host:65536", "::1:80", "h:-1"}) {
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
  }
}

TEST(HostPort, AListenerOnAllAddressesMustBeNamed) {
  for (const char* listen : {"0.0.0.0:1", "[::]:1", "[0:0::0]:1"}) {
    const absl::Status status = CheckAdvertised(listen, "");
    EXPECT_THAT(Message(status), testing::HasSubstr("--advertise")) << listen;
    EXPECT_TRUE(CheckAdvertised(listen, "pod-1.lm:50061").ok());
  }
  for (const char* listen : {"127.0.0.1:1", "[::1]:1", "localhost:1", "10.0.0.0:1"}) {
    EXPECT_TRUE(CheckAdvertised(listen, "").ok()) << listen;
  }
  EXPECT_FALSE(CheckAdvertised("0.0.0.0:1", "pod-1").ok());
  EXPECT_FALSE(CheckAdvertised("0.0.0.0:1", "pod-1:0").ok());
}

}  // namespace
}  // namespace vl2
