// What the folder of a checkpoint tells besides its files' content: its name, and whether a file is
// there at all or only git-lfs's note about it. Pure functions of the file system.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace vl2 {

// The name of the model in a folder: that of the repository when the folder is a snapshot of a
// Hugging Face cache (models--ORG--NAME/snapshots/COMMIT, also behind a symbolic link), otherwise
// the folder's own, of "." that of the working folder.
std::string ModelNameOfFolder(const std::string& folder);

// INVALID_ARGUMENT, with the command that fetches it, when `bytes`, the beginning of the file at
// `path`, are a git-lfs pointer: a clone without git-lfs has one in place of each large file.
absl::Status CheckIsNoLfsPointer(std::string_view bytes, const std::string& path);

}  // namespace vl2
