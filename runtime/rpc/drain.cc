#include "runtime/rpc/drain.h"

#include <chrono>

#include "runtime/base/log.h"

namespace vl2 {

void DrainService(ServerScaffold& server, CallGate& gate, int64_t timeout_ms) {
  gate.Close();
  server.SetServing(false);
  Log(Severity::kInfo, "draining", {{"timeout_ms", timeout_ms}});
  const bool empty = gate.WaitEmpty(std::chrono::milliseconds(timeout_ms));
  if (!empty) {
    Log(Severity::kWarning, "calls that still run are cancelled", {{"timeout_ms", timeout_ms}});
  }
  // What is left then are short calls, such as the question whether the service is there.
  constexpr int64_t kGoodbyeMs = 1000;
  server.Drain(empty ? kGoodbyeMs : 0);
}

}  // namespace vl2
