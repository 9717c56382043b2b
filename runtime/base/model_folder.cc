#include "runtime/base/model_folder.h"

#include <filesystem>
#include <optional>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

namespace fs = std::filesystem;

// NAME, of a path that ends in models--ORG--NAME/snapshots/COMMIT. A repository's name holds no
// "--" of its own.
std::optional<std::string> SnapshotName(const fs::path& folder) {
  if (folder.parent_path().filename() != "snapshots") return std::nullopt;
  const std::string repository = folder.parent_path().parent_path().filename();
  if (!repository.starts_with("models--")) return std::nullopt;
  std::string name = repository.substr(repository.rfind("--") + 2);
  if (name.empty()) return std::nullopt;
  return name;
}

fs::path WithoutTrailingSlash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

std::string ModelNameOfFolder(const std::string& folder) {
  std::error_code error;
  const fs::path absolute = WithoutTrailingSlash(fs::absolute(folder, error).lexically_normal());
  if (const auto name = SnapshotName(absolute)) return *name;
  const fs::path resolved = fs::canonical(folder, error);
  if (const auto name = SnapshotName(resolved); !error && name) return *name;
  return absolute.filename();
}

absl::Status CheckIsNoLfsPointer(std::string_view bytes, const std::string& path) {
  if (!bytes.starts_with("version https://git-lfs.github.com/spec/")) return absl::OkStatus();
  const fs::path folder = fs::path(path).parent_path();
  return InvalidArgument(path,
                         ": a git-lfs pointer in the place of the file; run `git lfs pull` in ",
                         folder.empty() ? "." : folder.string());
}

}  // namespace vl2
