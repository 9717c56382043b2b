// Data URIs, read as a browser reads them: the WHATWG URL parser, then the Fetch standard's "data:
// URL processor".
//
// So the scheme and `base64` are of any letter case; control characters and spaces around the
// address, tabs and line breaks inside it and a fragment count for nothing; a media type may be
// there or not, with any parameters; percent-escapes are undone; base64 is forgiving (base64.h);
// and without `;base64` the rest is the data itself. The media type is not believed, so not read.
//
// Pure functions; time is linear, and memory that of the result.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vl2::gateway {

enum class UrlScheme { kData, kHttp, kOther };  // kHttp: https too
UrlScheme SchemeOf(std::string_view url);

// `url` as the URL parser sees it: without what surrounds it, tabs and line breaks.
std::string CleanUrl(std::string_view url);

// The data. INVALID_ARGUMENT, naming the fault. REQUIRES: kData.
absl::StatusOr<std::string> DecodeDataUri(std::string_view url);

}  // namespace vl2::gateway
