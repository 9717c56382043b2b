#include "gateway/http/image_url.h"

#include "gtest/gtest.h"

namespace vl2::gateway {
namespace {

TEST(ImageUrl, Parts) {
  const auto url = ImageUrl::Parse("HTTPS://Pictures.Example.ORG./a/b.png?size=2#top");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_TRUE(url->tls);
  EXPECT_EQ(url->host, "pictures.example.org");
  EXPECT_EQ(url->port, 443);
  EXPECT_EQ(url->target, "/a/b.png?size=2");
  EXPECT_EQ(url->HostHeader(), "pictures.example.org");
  const auto v6 = ImageUrl::Parse("http://[2001:4860::8888]:8080?x");
  ASSERT_TRUE(v6.ok()) << v6.status();
  EXPECT_EQ(v6->host, "2001:4860::8888");
  EXPECT_EQ(v6->HostHeader(), "[2001:4860::8888]:8080");
  EXPECT_EQ(v6->target, "/?x");
}

TEST(ImageUrl, Refused) {
  for (const char* text : {"",
                           "ftp://a/b",
                           "file:///etc/passwd",
                           "http://",
                           "http:///a",
                           "http://user@host/a",
                           "http://host:0/",
                           "http://host:65536/",
                           "http://host:80x/",
                           "http://ho st/",
                           "http://h\\a/",
                           "http://[::1",
                           "http://[zz]/",
                           "http://../a",
                           "http://[fe80::1%25eth0]/",
                           "http://[2600::1%\xff\xfe]/",
                           "http://a..b/",
                           "http://.a/",
                           "http://a../",
                           "http://a/\r\nX: y",
                           "http://h%00st/",
                           "//host/a"}) {
    EXPECT_FALSE(ImageUrl::Parse(text).ok()) << text;
  }
  EXPECT_FALSE(ImageUrl::Parse("http://a/" + std::string(ImageUrl::kMaxBytes, 'x')).ok());
}

TEST(ImageUrl, Redirects) {
  const auto url = ImageUrl::Parse("https://a.org:444/one/two");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->Redirect("/three")->target, "/three");
  EXPECT_EQ(url->Redirect("/three")->port, 444);
  EXPECT_EQ(url->Redirect("//b.org/x")->host, "b.org");
  EXPECT_TRUE(url->Redirect("//b.org/x")->tls);
  EXPECT_EQ(url->Redirect("https://c.org/y")->host, "c.org");
  EXPECT_FALSE(url->Redirect("http://a.org/one").ok());
  EXPECT_FALSE(url->Redirect("file:///etc/passwd").ok());
  EXPECT_FALSE(url->Redirect("javascript:alert(1)").ok());
}

TEST(ImageUrl, RelativeRedirects) {
  const auto url = ImageUrl::Parse("https://a.org:444/b/c/d?q");
  ASSERT_TRUE(url.ok());
  // RFC 3986, 5.4.
  const std::pair<const char*, const char*> cases[] = {{"g", "/b/c/g"},
                                                       {"./g", "/b/c/g"},
                                                       {"g/", "/b/c/g/"},
                                                       {"?y", "/b/c/d?y"},
                                                       {"g?y", "/b/c/g?y"},
                                                       {".", "/b/c/"},
                                                       {"..", "/b/"},
                                                       {"../g", "/b/g"},
                                                       {"../../g", "/g"},
                                                       {"../../../../g", "/g"},
                                                       {"/./g", "/g"},
                                                       {"/../g", "/g"},
                                                       {"g;x=1/../y", "/b/c/y"},
                                                       {"g?y/../x", "/b/c/g?y/../x"},
                                                       {"#s", "/b/c/d?q"},
                                                       {" g ", "/b/c/g"},
                                                       {"\xc3\xa9 e.png", "/b/c/%C3%A9%20e.png"}};
  for (const auto& [location, target] : cases) {
    const auto next = url->Redirect(location);
    ASSERT_TRUE(next.ok()) << location << ": " << next.status();
    EXPECT_EQ(next->target, target) << location;
    EXPECT_EQ(next->HostHeader(), "a.org:444");
    EXPECT_TRUE(next->tls);
  }
}

TEST(ImageUrl, EscapesWhatBrowsersEscape) {
  EXPECT_EQ(ImageUrl::Parse(" http://a/\xe4\xb8\xad \"x\".png?\xc3\xbc=%20 ")->target,
            "/%E4%B8%AD%20%22x%22.png?%C3%BC=%20");
  EXPECT_EQ(ImageUrl::Parse("http://a/x/../y/./z.png")->target, "/y/z.png");
  EXPECT_FALSE(ImageUrl::Parse("http://b\xc3\xbc"
                               "cher.example/x")
                   .ok());
}

bool Allowed(const char* list, const char* url) {
  return HostAllowList::Parse(list)->Allows(*ImageUrl::Parse(url));
}

TEST(HostAllowList, Entries) {
  EXPECT_FALSE(Allowed("", "http://a.org/"));
  EXPECT_TRUE(Allowed("b.org, A.org", "https://a.org/"));
  EXPECT_FALSE(Allowed("a.org", "https://x.a.org/"));
  EXPECT_FALSE(Allowed("a.org", "https://xa.org/"));
  EXPECT_FALSE(Allowed("a.org", "https://a.org.evil.net/"));
  EXPECT_FALSE(Allowed("a.org", "https://a.org:8443/"));
  EXPECT_TRUE(Allowed("a.org:8443", "https://a.org:8443/"));
  EXPECT_FALSE(Allowed("a.org:8443", "https://a.org/"));
  EXPECT_TRUE(Allowed(".a.org", "http://x.y.a.org/"));
  EXPECT_TRUE(Allowed(".a.org", "http://a.org/"));
  EXPECT_FALSE(Allowed(".a.org", "http://ba.org/"));
  EXPECT_TRUE(Allowed("*", "http://anything.net/"));
  EXPECT_FALSE(Allowed("*", "http://anything.net:81/"));
  for (const char* list : {"a b", "a:0", "a:x", ".", "http://a", ":80"}) {
    EXPECT_FALSE(HostAllowList::Parse(list).ok()) << list;
  }
}

TEST(IsPublicAddress, V4) {
  for (const char* text :
       {"0.0.0.0",         "0.1.2.3",        "10.0.0.1",        "10.255.255.255",  "100.64.0.1",
        "100.127.255.255", "127.0.0.1",      "127.255.255.254", "169.254.169.254", "172.16.0.1",
        "172.31.255.255",  "192.0.0.8",      "192.0.2.1",       "192.88.99.1",     "192.168.1.1",
        "198.18.0.1",      "198.19.255.255", "198.51.100.7",    "203.0.113.9",     "224.0.0.1",
        "239.255.255.255", "240.0.0.1",      "255.255.255.255"}) {
    EXPECT_FALSE(IsPublicAddress(boost::asio::ip::make_address(text))) << text;
  }
  for (const char* text :
       {"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.1", "169.253.1.1", "172.15.255.255", "172.32.0.0", "192.167.255.255",
        "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"}) {
    EXPECT_TRUE(IsPublicAddress(boost::asio::ip::make_address(text))) << text;
  }
}

TEST(IsPublicAddress, V6) {
  for (const char* text : {"::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1",
                           "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2001::1",
                           "2001:db8::1", "2002:7f00:1::", "100::1", "::127.0.0.1", "3fff::1"}) {
    EXPECT_FALSE(IsPublicAddress(boost::asio::ip::make_address(text))) << text;
  }
  for (const char* text : {"2001:4860:4860::8888", "2606:4700::1111", "::ffff:1.1.1.1"}) {
    EXPECT_TRUE(IsPublicAddress(boost::asio::ip::make_address(text))) << text;
  }
}

}  // namespace
}  // namespace vl2::gateway
