#include "runtime/rpc/port_file.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "runtime/base/status.h"

namespace vl2 {

absl::Status WritePortFile(const std::string& path, const std::string& line) {
  if (path.empty()) return absl::OkStatus();
  const std::string partial = path + ".part";
  {
    std::ofstream file(partial, std::ios::trunc);
    file << line << "\n";
    if (!file.flush()) return absl::UnavailableError(Cat("cannot write ", partial));
  }
  std::error_code error;
  std::filesystem::rename(partial, path, error);
  if (error) return absl::UnavailableError(Cat("cannot write ", path, ": ", error.message()));
  return absl::OkStatus();
}

}  // namespace vl2
