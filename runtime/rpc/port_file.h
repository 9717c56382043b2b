// WritePortFile: tells whoever started a service where it listens.
//
// The line is written beside the file and renamed: nobody who waits for the file sees half of it.
// An empty path: nothing. Errors: UNAVAILABLE naming the file.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace vl2 {

absl::Status WritePortFile(const std::string& path, const std::string& line);

}  // namespace vl2
