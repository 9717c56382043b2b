// What vl2's exit status says; --help tells users.
#pragma once

#include "absl/status/status.h"

namespace vl2::client {

enum ExitCode {
  kDone = 0,
  kFileFailed = 1,
  kWrongUsage = 2,
  kUnreachable = 3,
  kRefused = 4,
  kFull = 5,
  kTimedOut = 6,
  kNoBoxes = 7,
  kServerFailed = 8,
  kInterrupted = 130,  // as shells count SIGINT
};

// Of a call that ended so.
ExitCode ExitCodeOf(absl::StatusCode code);

}  // namespace vl2::client
