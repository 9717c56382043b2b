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

TEST(HostPort, WhatIsAdvertisedCanBeDialled) {
  EXPECT_TRUE(CheckAdvertised("").ok()) << "the address that a peer has dialled";
  EXPECT_TRUE(CheckAdvertised("pod-1.lm:50061").ok());
  EXPECT_FALSE(CheckAdvertised("pod-1").ok());
  EXPECT_FALSE(CheckAdvertised("pod-1:0").ok());
}

}  // namespace
}  // namespace vl2
