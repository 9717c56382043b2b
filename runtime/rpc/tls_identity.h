// TlsIdentity: the certificate that a service shows, and the CAs whose certificates it believes.
//
// The files are looked at again every refresh_ms, and new handshakes use what they hold now; what
// is connected stays so. Files that cannot be used change nothing: what was in use stays, and log
// and metrics say why.
//
// gRPC's own file watcher hands on whatever it finds, half-written files too, and can not keep the
// old. So it is given files in memory, which change only after ReadTlsFiles has found nothing
// wrong.
//
// Exports vl2_certificate_expiry_seconds and vl2_certificate_reloads_failed_total.
//
// Owns: a thread that looks at the files. The files in memory stay open for the life of the
// process: gRPC may read them until its last connection has gone. Threading: thread-safe. Errors:
// of Open, as ReadTlsFiles.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "runtime/base/mutex.h"
#include "runtime/rpc/metrics.h"
#include "runtime/rpc/tls_files.h"

namespace vl2 {

class TlsIdentity {
 public:
  // The names that the services' certificates have, by which others know them.
  static constexpr char kGateway[] = "vl2-gateway";
  static constexpr char kVision[] = "vl2-vision";
  static constexpr char kLanguage[] = "vl2-language";

  // Null when no files are named. `metrics` gets a source that lives as long as this.
  static absl::StatusOr<std::unique_ptr<TlsIdentity>> Open(const TlsOptions& options,
                                                           Metrics& metrics);
  ~TlsIdentity();

  // For a server: with CAs its clients must show a certificate of theirs.
  std::shared_ptr<grpc::ServerCredentials> ForServer() const;
  // For channels to peers. REQUIRES: there are CAs.
  std::shared_ptr<grpc::ChannelCredentials> ForChannels() const { return channel_credentials_; }

 private:
  explicit TlsIdentity(const TlsOptions& options) : options_(options) {}
  // Takes what the files hold, if that is new and can be used.
  absl::Status Load();
  void Watch();
  void Collect(MetricSamples& samples) const;

  const TlsOptions options_;
  std::atomic<int64_t> expiry_s_{0};
  std::atomic<int64_t> num_failed_{0};
  TlsMaterial material_;  // in use; of the watching thread after Open, as are the descriptors
  int identity_file_ = -1, ca_file_ = -1;
  std::shared_ptr<grpc::experimental::FileWatcherCertificateProvider> provider_;
  std::shared_ptr<grpc::ChannelCredentials> channel_credentials_;
  Mutex mutex_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace vl2
