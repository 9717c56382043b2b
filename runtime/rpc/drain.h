// DrainService: the end of a service whose calls pass a CallGate.
//
// It says that it drains, refuses new calls, and goes on with the rest until its running calls have
// ended or `timeout_ms` is over; what still runs then is cancelled. Blocks.
#pragma once

#include <cstdint>

#include "runtime/rpc/call_gate.h"
#include "runtime/rpc/server_scaffold.h"

namespace vl2 {

void DrainService(ServerScaffold& server, CallGate& gate, int64_t timeout_ms);

}  // namespace vl2
