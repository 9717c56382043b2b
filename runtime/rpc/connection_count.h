// CountConnections: established TCP connections to a listening port, as the kernel counts them.
//
// gRPC does not tell how many clients are connected. Reads /proc/self/net/tcp and tcp6, which hold
// the whole network namespace: in a pod, on a port of this process's own, that is this process.
#pragma once

#include <string>

namespace vl2 {

int CountConnections(int port);

// Of the text of one such file.
int CountConnectionsIn(const std::string& table, int port);

}  // namespace vl2
