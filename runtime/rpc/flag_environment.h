// Flags from the environment: VL2_<FLAG> gives the flag <flag> another default, so that a container
// is configured without a command line. What the command line says counts more.
#pragma once

#include "absl/status/status.h"

namespace vl2 {

// Sets every flag whose variable (upper case, dashes as underscores) is in the environment. Call
// before absl::ParseCommandLine. INVALID_ARGUMENT names the variable and the value that its flag
// refuses. Variables without a flag are left alone: an orchestrator adds its own
// (VL2_…_SERVICE_HOST).
absl::Status SetFlagsFromEnvironment();

}  // namespace vl2
