// The flags that all services have: TLS between them, and reflection.
//
// Threading: after flags are parsed.
#pragma once

#include "runtime/rpc/tls_files.h"

namespace vl2 {

// --tls_cert, --tls_key, --tls_ca, --tls_refresh_ms.
TlsOptions PeerTlsFromFlags();

// --reflection.
bool ReflectionFromFlags();

}  // namespace vl2
