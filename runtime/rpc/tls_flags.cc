#include "runtime/rpc/tls_flags.h"

#include <cstdint>
#include <string>

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, tls_cert, "",
          "PEM file of the certificate that this service shows to the others, which must show "
          "theirs; its DNS name is vl2-gateway, vl2-vision or vl2-language. Empty: no TLS between "
          "services.");
ABSL_FLAG(std::string, tls_key, "", "PEM file of its key.");
ABSL_FLAG(std::string, tls_ca, "",
          "CAs of the services' certificates: a PEM file, or a folder whose *.crt and *.pem all "
          "count.");
ABSL_FLAG(int64_t, tls_refresh_ms, 20'000,
          "How often the files of certificates are looked at, milliseconds; new ones are used "
          "without a restart.");
ABSL_FLAG(bool, reflection, false, "Tell gRPC clients what services and messages there are.");

namespace vl2 {

TlsOptions PeerTlsFromFlags() {
  return {.name = "tls",
          .cert = absl::GetFlag(FLAGS_tls_cert),
          .key = absl::GetFlag(FLAGS_tls_key),
          .ca = absl::GetFlag(FLAGS_tls_ca),
          .refresh_ms = absl::GetFlag(FLAGS_tls_refresh_ms)};
}

bool ReflectionFromFlags() { return absl::GetFlag(FLAGS_reflection); }

}  // namespace vl2
