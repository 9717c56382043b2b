#include "gateway/http/data_uri.h"

#include <algorithm>
#include <iterator>

#include "gateway/http/base64.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

// The URL parser drops these wherever they stand.
bool IsDropped(char c) { return c == '\t' || c == '\n' || c == '\r'; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = Lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string_view Trim(std::string_view url) {
  const auto is_around = [](char c) { return static_cast<unsigned char>(c) <= ' '; };
  while (!url.empty() && is_around(url.front())) url.remove_prefix(1);
  while (!url.empty() && is_around(url.back())) url.remove_suffix(1);
  return url;
}

// Takes `prefix` from the front of *url, in any letter case, with dropped characters between.
bool TakePrefix(std::string_view prefix, std::string_view* url) {
  std::string_view rest = *url;
  while (!prefix.empty()) {
    if (rest.empty()) return false;
    const char c = rest.front();
    rest.remove_prefix(1);
    if (IsDropped(c)) continue;
    if (Lower(c) != prefix.front()) return false;
    prefix.remove_prefix(1);
  }
  *url = rest;
  return true;
}

// Whether a media type ends with ";", spaces, "base64". In a query, which begins with a question
// mark, the URL parser has escaped the spaces.
bool EndsWithBase64(std::string_view media) {
  const bool spaces_count = media.find('?') == std::string_view::npos;
  const auto last = [&]() -> char {
    while (!media.empty() && IsDropped(media.back())) media.remove_suffix(1);
    return media.empty() ? '\0' : Lower(media.back());
  };
  const auto skip_spaces = [&] {
    while (spaces_count && last() == ' ') media.remove_suffix(1);
  };
  skip_spaces();
  for (const char expected : std::string_view("46esab")) {
    if (last() != expected) return false;
    media.remove_suffix(1);
  }
  skip_spaces();
  return last() == ';';
}

// Hands `body` on in pieces, with the word whether a piece was escaped; escapes are undone. Dropped
// characters inside an escape are gone, those outside one are handed on.
template <typename Consumer>
void UndoEscapes(std::string_view body, const Consumer& consume) {
  while (!body.empty()) {
    const size_t percent = std::min(body.find('%'), body.size());
    if (percent > 0) consume(body.substr(0, percent), false);
    body.remove_prefix(percent);
    if (body.empty()) return;
    int value = 0;
    int num_digits = 0;
    size_t end = 1;
    for (; end < body.size() && num_digits < 2; ++end) {
      if (IsDropped(body[end])) continue;
      const int digit = HexDigit(body[end]);
      if (digit < 0) break;
      value = value * 16 + digit;
      ++num_digits;
    }
    if (num_digits < 2) end = 1;
    const char c = num_digits < 2 ? '%' : static_cast<char>(value);
    consume(std::string_view(&c, 1), true);
    body.remove_prefix(end);
  }
}

std::string WithoutDropped(std::string_view text) {
  std::string kept(text.size(), '\0');
  const auto end = std::remove_copy_if(text.begin(), text.end(), kept.begin(), IsDropped);
  kept.resize(static_cast<size_t>(end - kept.begin()));
  return kept;
}

}  // namespace

UrlScheme SchemeOf(std::string_view url) {
  url = Trim(url);
  if (TakePrefix("data:", &url)) return UrlScheme::kData;
  return TakePrefix("http:", &url) || TakePrefix("https:", &url) ? UrlScheme::kHttp
                                                                 : UrlScheme::kOther;
}

std::string CleanUrl(std::string_view url) { return WithoutDropped(Trim(url)); }

absl::StatusOr<std::string> DecodeDataUri(std::string_view url) {
  url = Trim(url);
  VL2_CHECK(TakePrefix("data:", &url)) << "not a data URI";
  url = url.substr(0, url.find('#'));
  const size_t comma = url.find(',');
  if (comma == std::string_view::npos) {
    return InvalidArgument("a data URI needs a comma before the data");
  }
  const std::string_view body = url.substr(comma + 1);
  if (EndsWithBase64(url.substr(0, comma))) {
    Base64Decoder decoder(body.size());
    UndoEscapes(body, [&](std::string_view piece, bool) { decoder.Push(piece); });
    return decoder.Finish();
  }
  std::string bytes;
  bytes.reserve(body.size());
  // Here a tab that was escaped is data, and one that was not is dropped.
  UndoEscapes(body, [&](std::string_view piece, bool escaped) {
    if (escaped) {
      bytes += piece;
    } else {
      std::remove_copy_if(piece.begin(), piece.end(), std::back_inserter(bytes), IsDropped);
    }
  });
  return bytes;
}

}  // namespace vl2::gateway
