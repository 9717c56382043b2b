#include "runtime/base/usage.h"

#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"

namespace vl2 {

void SetUsage(std::string_view message, const std::string& main_file,
              const std::string& other_file) {
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [main_file, other_file](absl::string_view file) {
    return absl::EndsWith(file, main_file) ||
           (!other_file.empty() && absl::EndsWith(file, other_file));
  };
  absl::SetFlagsUsageConfig(config);
  absl::SetProgramUsageMessage(absl::string_view(message.data(), message.size()));
}

}  // namespace vl2
