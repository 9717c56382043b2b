#include "gateway/session/client_identity.h"

#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

boost::asio::ip::address Address(const char* text) { return boost::asio::ip::make_address(text); }

TEST(TrustedProxies, Networks) {
  const auto proxies = TrustedProxies::Parse("10.0.0.0/8, 192.168.1.7 ,fd00::/8, ::1");
  ASSERT_TRUE(proxies.ok()) << proxies.status();
  for (const char* inside : {"10.1.2.3", "::ffff:10.1.2.3", "192.168.1.7", "fd12::9", "::1"}) {
    EXPECT_TRUE(proxies->Contains(Address(inside))) << inside;
  }
  for (const char* outside : {"11.0.0.1", "192.168.1.8", "fe80::1", "::2", "0.0.0.0"}) {
    EXPECT_FALSE(proxies->Contains(Address(outside))) << outside;
  }
  EXPECT_FALSE(TrustedProxies().Contains(Address("10.0.0.1")));
  EXPECT_TRUE(TrustedProxies::Parse("0.0.0.0/0")->Contains(Address("1.2.3.4")));
  EXPECT_FALSE(TrustedProxies::Parse("0.0.0.0/0")->Contains(Address("2001::1")));
}

TEST(TrustedProxies, RefusesWhatIsNoNetwork) {
  for (const char* text :
       {"example.org", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/x", "::/129", "10.0.0/8", "/8"}) {
    const auto proxies = TrustedProxies::Parse(text);
    EXPECT_FALSE(proxies.ok()) << text;
    EXPECT_NE(Message(proxies.status()).find(text), std::string::npos);
  }
}

struct Case {
  const char* peer;
  const char* x_forwarded_for;
  const char* forwarded;
  const char* client;
};

TEST(ClientAddress, IsTheLastThatIsNotTrusted) {
  const TrustedProxies proxies = *TrustedProxies::Parse("10.0.0.0/8,127.0.0.1");
  const Case cases[] = {
      {"1.1.1.1", "", "", "1.1.1.1"},
      // What an untrusted peer says of itself does not count.
      {"1.1.1.1", "2.2.2.2", "for=2.2.2.2", "1.1.1.1"},
      {"10.0.0.1", "2.2.2.2", "", "2.2.2.2"},
      {"::ffff:10.0.0.1", "2.2.2.2", "", "2.2.2.2"},
      // The client itself may have begun the list.
      {"10.0.0.1", "9.9.9.9, 2.2.2.2", "", "2.2.2.2"},
      {"10.0.0.1", "2.2.2.2, 10.3.3.3,10.4.4.4", "", "2.2.2.2"},
      {"10.0.0.1", "10.3.3.3, 10.4.4.4", "", "10.3.3.3"},
      {"10.0.0.1", "2.2.2.2:4711", "", "2.2.2.2"},
      {"10.0.0.1", "[2001:db8::7]:4711", "", "2001:db8::7"},
      {"10.0.0.1", "2001:db8::7", "", "2001:db8::7"},
      {"10.0.0.1", "unknown", "", "10.0.0.1"},
      {"10.0.0.1", "3.3.3.3, unknown, 10.2.2.2", "", "10.2.2.2"},
      {"10.0.0.1", "", "for=2.2.2.2;proto=http", "2.2.2.2"},
      {"10.0.0.1", "", "proto=http;FOR=\"[2001:db8::7]:8\", for=10.9.9.9", "2001:db8::7"},
      {"10.0.0.1", "", "for=_hidden", "10.0.0.1"},
      {"10.0.0.1", "4.4.4.4", "for=2.2.2.2", "4.4.4.4"},
      {"10.0.0.1", ",,, ,", "", "10.0.0.1"},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(ClientAddress(Address(each.peer), each.x_forwarded_for, each.forwarded, proxies),
              Address(each.client))
        << each.peer << " | " << each.x_forwarded_for << " | " << each.forwarded;
  }
}

TEST(AddressOfGrpcPeer, Forms) {
  EXPECT_EQ(AddressOfGrpcPeer("ipv4:1.2.3.4:56"), Address("1.2.3.4"));
  EXPECT_EQ(AddressOfGrpcPeer("ipv6:[::1]:56"), Address("::1"));
  EXPECT_EQ(AddressOfGrpcPeer("ipv6:%5B2001:db8::7%5D:56"), Address("2001:db8::7"));
  for (const char* none : {"", "unix:/run/x", "ipv4", "ipv4:", "ipv6:[", "ipv6:%5B"}) {
    EXPECT_TRUE(AddressOfGrpcPeer(none).is_unspecified()) << none;
  }
}

TEST(ClientId, NamesAddressesAndHidesThem) {
  const std::string id = ClientId(Address("1.2.3.4"));
  EXPECT_EQ(id.size(), 24u);
  EXPECT_EQ(id, ClientId(Address("::ffff:1.2.3.4")));
  EXPECT_NE(id, ClientId(Address("1.2.3.5")));
  EXPECT_EQ(ClientId(Address("2001:db8::1")), ClientId(Address("2001:db8::ffff:2")));
  EXPECT_NE(ClientId(Address("2001:db8::1")), ClientId(Address("2001:db8:0:1::1")));
}

}  // namespace
}  // namespace vl2::gateway
