// ReadTlsFiles: a service's certificate, key and CAs from their files, checked before they are
// used.
//
// gRPC takes what its files hold and then fails every handshake; so whatever can be wrong is found
// here, and said with the file's name.
//
// Pure but for reading. Errors: INVALID_ARGUMENT or FAILED_PRECONDITION naming flag and file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vl2 {

struct TlsOptions {
  static constexpr int64_t kMaxRefreshMs = 60'000;

  // What it is for, and how its flags are called: "tls" for --tls_cert …, "public_tls".
  std::string name = "tls";
  // PEM files: the certificate with those that lead to its CA, and its key. Both or none.
  std::string cert = "";
  std::string key = "";
  // CAs of the peers: a PEM file, or a folder whose *.crt and *.pem all count. With one, both sides
  // show a certificate and check the other's; without one only a server's is shown.
  std::string ca = "";
  bool needs_ca = true;
  int64_t refresh_ms = 20'000;  // how often the files are looked at

  bool is_set() const { return !cert.empty(); }
  // INVALID_ARGUMENT naming the flag that lacks, or is outside its range.
  absl::Status Validate() const;
};

// What the files hold, in PEM.
struct TlsMaterial {
  std::string cert, key, ca;
  std::vector<std::string> names;  // the certificate's DNS names
  int64_t expiry_s = 0;            // since 1970: when the first of the certificates in `cert` ends

  friend bool operator==(const TlsMaterial&, const TlsMaterial&) = default;
};

// REQUIRES: options.is_set(). The key is the certificate's, which is valid now, has a DNS name, and
// leads to one of the CAs.
absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsOptions& options);

}  // namespace vl2
