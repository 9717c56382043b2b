#include "gateway/http/data_uri.h"

#include <string>
#include <vector>

#include "gateway/http/base64.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

using ::testing::HasSubstr;

struct UriCase {
  std::string url;
  std::string bytes;
};

// What fetch() of Node 20 (undici) gives for each.
TEST(DataUri, ReadsWhatABrowserReads) {
  const std::vector<UriCase> cases = {
      {"data:image/png;base64,QUJD", "ABC"},
      {"DATA:IMAGE/PNG;BASE64,QUJD", "ABC"},
      {"  \n data:image/png;base64,QUJD \r\n\x01", "ABC"},
      {"da\nta:;base\r64,QU\tJD", "ABC"},
      {"data:image/png;base64,QU\r\nJD\r\n", "ABC"},
      {"data:image/png;base64,Q U J D", "ABC"},
      {"data:image/png;base64,QUI", "AB"},
      {"data:image/png;base64,QQ", "A"},
      {"data:image/png;base64,QQ==", "A"},
      {"data:image/png;base64,QR==", "A"},
      {"data:image/png;base64,QUJ", "AB"},
      {"data:image/png;base64,Q%55J%44", "ABC"},
      {"data:image/png;base64,QQ%3D%3d", "A"},
      {"data:image/png;base64,QU%0AJD%20", "ABC"},
      {"data:image/png;base64,QU%\n4AD", "ABC"},
      {"data:,QUJD", "QUJD"},
      {"data:;base64,QUJD", "ABC"},
      {"data:image/png;name=a.png;base64,QUJD", "ABC"},
      {"data: image/png ; base64 ,QUJD", "ABC"},
      {"data:image/png;charset=utf-8;   base64,QUJD", "ABC"},
      {"data:image/png;base64,QUJD#a fragment", "ABC"},
      {"data:image/png;base64;x,QUJD", "QUJD"},
      {"data:image/png,A%42C%", "ABC%"},
      {"data:image/png,A\nB%09C%4", "AB\tC%4"},
      {"data:image/png,caf\xc3\xa9", "caf\xc3\xa9"},
      {"data:base64,QUJD", "QUJD"},
      {"data:x?;base64,QUJD", "ABC"},
      {"data:x?; base64,QUJD", "QUJD"},
      {"data:;base64,", ""},
  };
  for (const UriCase& each : cases) {
    EXPECT_EQ(SchemeOf(each.url), UrlScheme::kData) << each.url;
    const auto bytes = DecodeDataUri(each.url);
    ASSERT_TRUE(bytes.ok()) << each.url << ": " << bytes.status();
    EXPECT_EQ(*bytes, each.bytes) << each.url;
  }
}

TEST(DataUri, RefusesWhatABrowserRefuses) {
  for (const char* url :
       {"data:image/png;base64", "data:", "data:image/png;base64#,QUJD", "data:;base64,Q",
        "data:;base64,QUJDQ", "data:;base64,QQ=", "data:;base64,Q===", "data:;base64,====",
        "data:;base64,QUJD=", "data:;base64,QUJD==", "data:;base64,QQ==QQ==", "data:;base64,Q=Q=",
        "data:;base64,QU-_", "data:;base64,QU%4", "data:;base64,QUJ\xc3\xa9", "data:;base64,QUJD?",
        "data:;base64,QUJD%00", "data:;base64,,QUJD"}) {
    EXPECT_FALSE(DecodeDataUri(url).ok()) << url;
  }
}

TEST(DataUri, FaultsNameThePlace) {
  EXPECT_THAT(Message(DecodeDataUri("data:;base64").status()), HasSubstr("comma"));
  EXPECT_THAT(Message(DecodeDataUri("data:;base64,QU*D").status()), HasSubstr("character 2"));
  EXPECT_THAT(Message(DecodeDataUri("data:;base64,QUJDR").status()), HasSubstr("left over"));
}

TEST(DataUri, Schemes) {
  EXPECT_EQ(SchemeOf(" HTTPS://x"), UrlScheme::kHttp);
  EXPECT_EQ(SchemeOf("ht\ntp://x"), UrlScheme::kHttp);
  EXPECT_EQ(SchemeOf("file:///x"), UrlScheme::kOther);
  EXPECT_EQ(SchemeOf("data"), UrlScheme::kOther);
  EXPECT_EQ(SchemeOf(""), UrlScheme::kOther);
  EXPECT_EQ(CleanUrl(" \x1f https://x/a\n b\t "), "https://x/a b");
}

TEST(Base64, ReadsAnyCutOfTheText) {
  const std::string text = "TWFu IGlz\r\nIGRpc3Rpbmd1aXNoZWQ=";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Base64Decoder decoder(text.size());
    decoder.Push(text.substr(0, cut));
    decoder.Push(text.substr(cut));
    EXPECT_EQ(*decoder.Finish(), "Man is distinguished") << cut;
  }
}

TEST(Base64, ReadsEveryByte) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int byte = 0; byte < 256; ++byte) {
    Base64Decoder decoder(4);
    decoder.Push(std::string{kAlphabet[byte >> 2], kAlphabet[(byte & 3) << 4]});
    EXPECT_EQ(*decoder.Finish(), std::string(1, static_cast<char>(byte)));
  }
}

}  // namespace
}  // namespace vl2::gateway
