#include "runtime/rpc/flag_environment.h"

#include <cctype>
#include <cstdlib>
#include <set>
#include <string>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "runtime/base/status.h"

namespace vl2 {

absl::Status SetFlagsFromEnvironment() {
  // Abseil's own: they would read files or other variables.
  static const auto* const kNotOurs =
      new std::set<std::string>{"flagfile", "fromenv", "tryfromenv", "undefok"};
  for (const auto& [view, flag] : absl::GetAllFlags()) {
    const std::string name(view);
    if (kNotOurs->count(name) > 0 || flag->IsRetired()) continue;
    std::string variable = "VL2_";
    for (const char c : name) {
      variable.push_back(c == '-' ? '_'
                                  : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
    }
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr) continue;
    std::string error;
    if (!flag->ParseFrom(value, &error)) {
      return InvalidArgument("environment variable ", variable, "=", value, ": ", error);
    }
  }
  return absl::OkStatus();
}

}  // namespace vl2
