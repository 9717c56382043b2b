#include "runtime/rpc/service_main.h"

#include <iostream>
#include <string>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "runtime/base/usage.h"
#include "runtime/rpc/flag_environment.h"
#include "runtime/rpc/http_get.h"

ABSL_FLAG(
    std::string, probe, "",
    "Asks the service that runs with the same settings instead of starting one: livez or readyz, "
    "of its --metrics_listen. For images without a shell; ends with 0 when the answer is good.");

ABSL_FLAG(std::string, log_format, "text", "How log lines are written: text or json.");

namespace vl2 {
namespace {

// The answer of this service's own metrics port.
absl::Status Probe(const std::string& what) {
  if (what != "livez" && what != "readyz") {
    return InvalidArgument("--probe \"", what, "\" is not one of livez, readyz");
  }
  absl::CommandLineFlag* const flag = absl::FindCommandLineFlag("metrics_listen");
  if (flag == nullptr || flag->CurrentValue().empty()) {
    return InvalidArgument("--probe needs --metrics_listen");
  }
  VL2_ASSIGN_OR_RETURN(const std::string answer, HttpGet(flag->CurrentValue(), "/" + what));
  std::cout << answer;
  return absl::OkStatus();
}

}  // namespace

int ServiceMain(int argc, char** argv, const std::string& name, std::string_view usage,
                const std::function<absl::Status(TerminationSignal&)>& run) {
  TerminationSignal signal;
  SetUsage(usage, name + "/main.cc", "runtime/rpc/tls_flags.cc");
  absl::Status status = SetFlagsFromEnvironment();
  if (status.ok() && absl::ParseCommandLine(argc, argv).size() != 1) {
    status = InvalidArgument("takes flags only, see --help");
  }
  if (status.ok()) status = SetLogFormat(absl::GetFlag(FLAGS_log_format));
  if (status.ok()) {
    const std::string probe = absl::GetFlag(FLAGS_probe);
    status = probe.empty() ? run(signal) : Probe(probe);
  }
  if (status.ok()) return 0;
  if (CurrentLogFormat() == LogFormat::kJson) {
    Log(Severity::kError, Cat(name, " ends"), {{"reason", Message(status)}});
  } else {
    std::cerr << name << ": " << Message(status) << "\n";
  }
  return 1;
}

}  // namespace vl2
