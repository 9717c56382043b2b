#include "vision_service/engine/client_shares.h"

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {

absl::Status ClientShares::Take(const std::string& client, int64_t amount) {
  VL2_CHECK(amount > 0) << amount;
  const auto it = held_.find(client);
  const int64_t own = it == held_.end() ? 0 : it->second;
  const int64_t share = capacity_ / (num_clients() + (own == 0));
  const bool fits = total_ + amount <= capacity_;
  const bool within_share =
      (own == 0 ? amount <= capacity_ : own + amount <= share) && total_ + amount <= 2 * capacity_;
  if (!fits && !within_share) {
    return absl::ResourceExhaustedError(
        Cat(total_, " ", what_, ", ", own, " of them for this client, whose share is ", share,
            asked_.empty() ? "" : Cat(", and ", asked_, " ", amount), ", the limit ", limit_name_,
            " is ", capacity_));
  }
  held_[client] += amount;
  total_ += amount;
  return absl::OkStatus();
}

void ClientShares::Return(const std::string& client, int64_t amount) {
  if (amount == 0) return;
  const auto it = held_.find(client);
  VL2_CHECK(it != held_.end() && it->second >= amount && amount > 0)
      << amount << " of " << (it == held_.end() ? 0 : it->second);
  it->second -= amount;
  total_ -= amount;
  if (it->second == 0) held_.erase(it);
}

}  // namespace vl2
