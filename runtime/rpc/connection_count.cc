#include "runtime/rpc/connection_count.h"

#include <fstream>
#include <istream>
#include <sstream>

#include "absl/strings/str_format.h"

namespace vl2 {
namespace {

int Count(std::istream& table, int port) {
  const std::string established = "01";
  const std::string local = absl::StrFormat(":%04X", port);
  int count = 0;
  for (std::string line; std::getline(table, line);) {
    // "sl: local_address remote_address state …", addresses as HEX:PORT.
    std::istringstream words(line);
    std::string number, here, there, state;
    words >> number >> here >> there >> state;
    if (state == established && here.ends_with(local)) ++count;
  }
  return count;
}

}  // namespace

int CountConnectionsIn(const std::string& table, int port) {
  std::istringstream text(table);
  return Count(text, port);
}

int CountConnections(int port) {
  int count = 0;
  for (const char* path : {"/proc/self/net/tcp", "/proc/self/net/tcp6"}) {
    std::ifstream table(path);
    count += Count(table, port);
  }
  return count;
}

}  // namespace vl2
