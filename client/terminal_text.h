// Text of others (answers, error messages) made harmless for a terminal: a control character could
// move the cursor or change what the user types.
//
// Pure functions on UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace vl2::client {

// Control characters but line ends and tabs become U+FFFD.
std::string ForTerminal(std::string_view text);

// The same on one line: line ends and tabs become spaces.
std::string OneLine(std::string_view text);

}  // namespace vl2::client
