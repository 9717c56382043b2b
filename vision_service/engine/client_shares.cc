#include "vision_service/engine/client_shares.h"

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {

absl::Status ClientShares::Take(const std::string& client, int64_t amount) {
  VL2_CHECK(amount > 0) << amount;
  const std::string tenant = TenantOf(client);
  const int64_t own = held_.OfClient(client);
  const int64_t of_tenant = held_.OfTenant(tenant);
  // Of the tenant, and of the client within it.
  const int64_t tenant_share = capacity_ / (held_.num_tenants() + (of_tenant == 0));
  const int64_t share = tenant_share / (held_.num_clients_of(tenant) + (own == 0));
  const bool fits = total_ + amount <= capacity_;
  bool within_share = total_ + amount <= 2 * capacity_;
  if (of_tenant == 0) {
    within_share &= amount <= capacity_;
  } else {
    within_share &= of_tenant + amount <= tenant_share && (own == 0 || own + amount <= share);
  }
  if (!fits && !within_share) {
    return absl::ResourceExhaustedError(
        Cat(total_, " ", what_, ", ", own, " of them for this client, whose share is ", share,
            asked_.empty() ? "" : Cat(", and ", asked_, " ", amount), ", the limit ", limit_name_,
            " is ", capacity_));
  }
  held_.Add(client, amount);
  total_ += amount;
  return absl::OkStatus();
}

void ClientShares::Return(const std::string& client, int64_t amount) {
  if (amount == 0) return;
  const int64_t own = held_.OfClient(client);
  VL2_CHECK(own >= amount && amount > 0) << amount << " of " << own;
  held_.Add(client, -amount);
  total_ -= amount;
}

}  // namespace vl2
