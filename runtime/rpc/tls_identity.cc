#include "runtime/rpc/tls_identity.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <sstream>
#include <string_view>

#include "grpcpp/security/tls_credentials_options.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

// gRPC looks at the files in memory so often.
constexpr unsigned kProviderRefreshS = 1;

std::string PathOf(int descriptor) { return Cat("/proc/self/fd/", descriptor); }

// Makes `descriptor` (-1: a new one) stand for a file in memory that holds `text`. Who opens its
// path gets the old file or the new one, and never a part.
absl::Status SetMemoryFile(std::string_view text, int& descriptor) {
  const auto failure = [](const char* what) {
    return absl::InternalError(Cat("a file in memory: ", what, ": ", std::strerror(errno)));
  };
  const int made = memfd_create("vl2-tls", MFD_CLOEXEC);
  if (made < 0) return failure("memfd_create");
  absl::Status status;
  if (write(made, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    status = failure("write");
  } else if (descriptor < 0) {
    descriptor = made;
    return absl::OkStatus();
  } else if (dup3(made, descriptor, O_CLOEXEC) < 0) {
    status = failure("dup3");
  }
  close(made);
  return status;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsIdentity>> TlsIdentity::Open(const TlsOptions& options,
                                                               Metrics& metrics) {
  VL2_RETURN_IF_ERROR(options.Validate());
  if (!options.is_set()) return nullptr;
  std::unique_ptr<TlsIdentity> identity(new TlsIdentity(options));
  VL2_RETURN_IF_ERROR(identity->Load());
  const std::string identity_path = PathOf(identity->identity_file_);
  identity->provider_ = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      identity_path, identity_path, options.ca.empty() ? "" : PathOf(identity->ca_file_),
      kProviderRefreshS);
  if (!options.ca.empty()) {
    grpc::experimental::TlsChannelCredentialsOptions channels;
    channels.set_certificate_provider(identity->provider_);
    channels.watch_root_certs();
    channels.watch_identity_key_cert_pairs();
    identity->channel_credentials_ = grpc::experimental::TlsCredentials(channels);
  }
  metrics.AddSource([raw = identity.get()](MetricSamples& samples) { raw->Collect(samples); });
  identity->thread_ = std::thread([raw = identity.get()] { raw->Watch(); });
  return identity;
}

TlsIdentity::~TlsIdentity() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    stop_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<grpc::ServerCredentials> TlsIdentity::ForServer() const {
  grpc::experimental::TlsServerCredentialsOptions options(provider_);
  options.watch_identity_key_cert_pairs();
  if (options_.ca.empty()) {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

absl::Status TlsIdentity::Load() {
  VL2_ASSIGN_OR_RETURN(TlsMaterial found, ReadTlsFiles(options_));
  if (found == material_) return absl::OkStatus();
  const bool is_first = material_.cert.empty();
  // The CAs first: the new certificate may need them.
  if (!options_.ca.empty()) VL2_RETURN_IF_ERROR(SetMemoryFile(found.ca, ca_file_));
  VL2_RETURN_IF_ERROR(SetMemoryFile(Cat(found.key, "\n", found.cert), identity_file_));
  material_ = std::move(found);
  expiry_s_ = material_.expiry_s;
  Log(Severity::kInfo, is_first ? "certificates were read" : "certificates were read again",
      {{"use", options_.name},
       {"names", Joined(material_.names)},
       {"expiry_seconds", material_.expiry_s}});
  return absl::OkStatus();
}

void TlsIdentity::Watch() {
  std::string told;  // the last complaint: each is made once
  for (;;) {
    {
      MutexLock lock(&mutex_);
      const auto next =
          std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.refresh_ms);
      while (!stopping_ && std::chrono::steady_clock::now() < next) {
        stop_.WaitUntil(&mutex_, next);
      }
      if (stopping_) return;
    }
    const absl::Status status = Load();
    if (!status.ok()) ++num_failed_;
    if (!status.ok() && Message(status) != told) {
      Log(Severity::kError, "the certificates of before stay",
          {{"use", options_.name}, {"reason", Message(status)}});
    }
    told = Message(status);
  }
}

void TlsIdentity::Collect(MetricSamples& samples) const {
  samples.Gauge("vl2_certificate_expiry_seconds",
                "When the certificate in use expires, since 1970.", static_cast<double>(expiry_s_),
                {{"use", options_.name}});
  samples.Counter("vl2_certificate_reloads_failed_total",
                  "Looks at certificate files that could not be used; those of before stay.",
                  static_cast<double>(num_failed_), {{"use", options_.name}});
}

}  // namespace vl2
