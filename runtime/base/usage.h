// SetUsage: what --help of a program says. By itself the flags library lists the flags of a file
// named like the program; ours are in a main.cc and what several of them share.
//
// Threading: before flags are parsed.
#pragma once

#include <string>
#include <string_view>

namespace vl2 {

// `message`: the usage line and what the program does. `main_file`: the end of the path of the file
// that defines the flags, such as "gateway/main.cc". `other_file`: of another that does.
void SetUsage(std::string_view message, const std::string& main_file,
              const std::string& other_file = "");

}  // namespace vl2
