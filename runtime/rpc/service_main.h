// ServiceMain: main() of a service. Signals are blocked before any thread starts, flags come from
// the environment and the command line, --help explains the program; then `run` serves until it
// returns.
//
// Returns the exit status: 0, or 1 after "NAME: reason" on standard error.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/rpc/termination.h"

namespace vl2 {

// `name` is also the folder whose main.cc defines the flags; `usage` as SetUsage takes it.
int ServiceMain(int argc, char** argv, const std::string& name, std::string_view usage,
                const std::function<absl::Status(TerminationSignal&)>& run);

}  // namespace vl2
