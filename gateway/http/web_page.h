// The web page at "/": gateway/web/index.html, embedded when the program is built.
#pragma once

#include <string_view>

namespace vl2::gateway {

std::string_view WebPage();

}  // namespace vl2::gateway
