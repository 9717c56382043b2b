// CallerRule: a call that only one service may make, known by the DNS name in its certificate.
//
// Whoever has a certificate of our CA may connect. Without these rules anybody inside could fill a
// prefix under a key that is not his.
//
// Threading: thread-safe. Errors: PERMISSION_DENIED naming the certificate that was shown and the
// one that is needed; counted in vl2_<service>_callers_refused_total.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "runtime/rpc/metrics.h"

namespace vl2 {

class CallerRule {
 public:
  // `service`: as in metrics' names. `call`: as in the proto. Where the server has no TLS
  // (`is_on` false) nobody shows a certificate, and everybody may call.
  CallerRule(Metrics& metrics, const std::string& service, const std::string& call,
             const std::string& needed_name, bool is_on);

  absl::Status Check(const grpc::ServerContextBase& context) const;
  // `names`: the DNS names of the certificate that the caller has shown and that was verified;
  // none: it has shown none, or one without names.
  absl::Status CheckNames(const std::vector<std::string>& names) const;

 private:
  const std::string call_, needed_name_;
  const bool is_on_;
  mutable MetricCounter refused_;
};

}  // namespace vl2
