#include "runtime/rpc/caller_rule.h"

#include <algorithm>

#include "grpc/grpc_security_constants.h"
#include "grpcpp/security/auth_context.h"
#include "runtime/base/excerpt.h"
#include "runtime/base/status.h"

namespace vl2 {

CallerRule::CallerRule(Metrics& metrics, const std::string& service, const std::string& call,
                       const std::string& needed_name, bool is_on)
    : call_(call),
      needed_name_(needed_name),
      is_on_(is_on),
      refused_(metrics.Counter(Cat("vl2_", service, "_callers_refused_total"),
                               "Calls refused for the name in their certificate.",
                               {{"call", call}})) {}

absl::Status CallerRule::Check(const grpc::ServerContextBase& context) const {
  if (!is_on_) return absl::OkStatus();
  std::vector<std::string> names;
  const auto caller = context.auth_context();
  if (caller != nullptr && caller->IsPeerAuthenticated()) {
    for (const grpc::string_ref& name : caller->FindPropertyValues(GRPC_PEER_DNS_PROPERTY_NAME)) {
      names.emplace_back(name.data(), name.size());
    }
  }
  return CheckNames(names);
}

absl::Status CallerRule::CheckNames(const std::vector<std::string>& names) const {
  if (!is_on_) return absl::OkStatus();
  if (std::find(names.begin(), names.end(), needed_name_) != names.end()) return absl::OkStatus();
  refused_.Add();
  std::string shown;
  for (const std::string& name : names) shown += (shown.empty() ? "" : ", ") + name;
  return absl::PermissionDeniedError(
      Cat(call_, " needs the certificate of ", needed_name_, ", the caller has shown ",
          shown.empty() ? "none with a DNS name" : "that of " + Excerpt(shown)));
}

}  // namespace vl2
