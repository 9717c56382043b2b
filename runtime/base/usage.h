// SetUsage: what --help of a program says. By itself the flags library lists the flags of a file
// named like the program; ours are all in a main.cc.
//
// Threading: before flags are parsed.
#pragma once

#include <string>
#include <string_view>

namespace vl2 {

// `message`: the usage line and what the program does. `main_file`: the end of the path of the file
// that defines the flags, such as "gateway/main.cc".
void SetUsage(std::string_view message, const std::string& main_file);

}  // namespace vl2
