#include "runtime/rpc/service_main.h"

#include <iostream>

#include "absl/flags/parse.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "runtime/rpc/flag_environment.h"

namespace vl2 {

int ServiceMain(int argc, char** argv, const std::string& name, std::string_view usage,
                const std::function<absl::Status(TerminationSignal&)>& run) {
  TerminationSignal signal;
  SetUsage(usage, name + "/main.cc");
  absl::Status status = SetFlagsFromEnvironment();
  if (status.ok() && absl::ParseCommandLine(argc, argv).size() != 1) {
    status = InvalidArgument("takes flags only, see --help");
  }
  if (status.ok()) status = run(signal);
  if (status.ok()) return 0;
  std::cerr << name << ": " << Message(status) << "\n";
  return 1;
}

}  // namespace vl2
