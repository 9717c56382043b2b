// Data URIs against the standards' own steps, taken one after the other on whole strings.
#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/http/data_uri.h"
#include "runtime/base/check.h"

namespace vl2::gateway {
namespace {

// The URL parser: what surrounds the address, and tabs and line breaks in it, are removed.
std::string ParsedUrl(std::string_view input) {
  std::string url(input);
  const auto around = [](char c) { return static_cast<unsigned char>(c) <= ' '; };
  while (!url.empty() && around(url.back())) url.pop_back();
  url.erase(url.begin(), std::find_if_not(url.begin(), url.end(), around));
  std::erase_if(url, [](char c) { return c == '\t' || c == '\n' || c == '\r'; });
  return url;
}

std::string LowerCase(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return text;
}

std::string PercentDecoded(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_hex = [&](size_t at) {
      return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])) != 0;
    };
    if (text[i] == '%' && is_hex(i + 1) && is_hex(i + 2)) {
      bytes += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      bytes += text[i];
    }
  }
  return bytes;
}

std::optional<std::string> ForgivingBase64(std::string text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::erase_if(text,
                [](char c) { return std::string_view("\t\n\f\r ").find(c) != std::string::npos; });
  if (text.size() % 4 == 0) {
    for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i) text.pop_back();
  }
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  uint32_t buffer = 0;
  int num_bits = 0;
  for (const char c : text) {
    const size_t digit = kAlphabet.find(c);
    if (digit == std::string::npos) return std::nullopt;
    buffer = buffer << 6 | static_cast<uint32_t>(digit);
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    bytes += static_cast<char>(buffer >> num_bits);
  }
  return bytes;
}

// Nothing when the "data: URL processor" fails. `url` begins with "data:".
std::optional<std::string> Processed(std::string url) {
  url = url.substr(5, url.find('#') == url.npos ? url.npos : url.find('#') - 5);
  const size_t comma = url.find(',');
  if (comma == url.npos) return std::nullopt;
  std::string media = LowerCase(url.substr(0, comma));
  const size_t query = media.find('?');
  if (query != media.npos) {
    std::replace(media.begin() + static_cast<std::ptrdiff_t>(query), media.end(), ' ', '\x01');
  }
  const std::string body = PercentDecoded(std::string_view(url).substr(comma + 1));
  while (media.ends_with(' ')) media.pop_back();
  if (!media.ends_with("base64")) return body;
  media.resize(media.size() - 6);
  while (media.ends_with(' ')) media.pop_back();
  return media.ends_with(';') ? ForgivingBase64(body) : body;
}

void CheckInput(std::string_view input) {
  const std::string url = ParsedUrl(input);
  const std::string lower = LowerCase(url);
  VL2_CHECK(CleanUrl(input) == url);
  const UrlScheme scheme = SchemeOf(input);
  VL2_CHECK((scheme == UrlScheme::kData) == lower.starts_with("data:"));
  VL2_CHECK((scheme == UrlScheme::kHttp) ==
            (lower.starts_with("http:") || lower.starts_with("https:")));
  if (scheme != UrlScheme::kData) return;
  const auto bytes = DecodeDataUri(input);
  const auto expected = Processed(url);
  VL2_CHECK(bytes.ok() == expected.has_value()) << bytes.status();
  if (expected) VL2_CHECK(*bytes == *expected);
}

}  // namespace
}  // namespace vl2::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  vl2::gateway::CheckInput(input);
  // Most inputs have no scheme of their own.
  vl2::gateway::CheckInput("data:" + std::string(input));
  vl2::gateway::CheckInput("data:;base64," + std::string(input));
  return 0;
}
