// Holdings: how much of something each client holds, and who gives way to whom.
//
// Tenants (client_name.h) are compared first. A tenant that holds most gives way to another one's
// request; where it need not, the client that holds most of the asking one's own tenant may.
//
// Owns: one entry per client that holds something. Threading: none of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "runtime/base/client_name.h"

namespace vl2 {

class Holdings {
 public:
  // `amount` may be negative.
  void Add(const std::string& client, int64_t amount) {
    AddTo(clients_, client, amount);
    AddTo(tenants_, TenantOf(client), amount);
  }
  int64_t OfClient(const std::string& client) const { return Find(clients_, client); }
  int64_t OfTenant(const std::string& tenant) const { return Find(tenants_, tenant); }

  int64_t num_clients() const { return static_cast<int64_t>(clients_.size()); }
  int64_t num_tenants() const { return static_cast<int64_t>(tenants_.size()); }
  int64_t num_clients_of(const std::string& tenant) const {
    return std::count_if(clients_.begin(), clients_.end(),
                         [&](const auto& each) { return TenantOf(each.first) == tenant; });
  }

  // The client that gives way to `client`, if any. `must_yield(loser, its, own)` is the rule: the
  // amounts are of the two tenants, or of two clients of one tenant.
  template <typename Rule>
  std::optional<std::string> Loser(const std::string& client, const Rule& must_yield) const {
    const std::string own = TenantOf(client);
    const auto tenant = Most(tenants_, [](const std::string&) { return true; });
    if (tenant == tenants_.end()) return std::nullopt;
    if (tenant->first != own) {
      const std::string& loser = GreediestOf(tenant->first);
      if (must_yield(loser, tenant->second, OfTenant(own))) return loser;
    }
    if (OfTenant(own) == 0) return std::nullopt;
    const std::string& loser = GreediestOf(own);
    if (loser != client && must_yield(loser, OfClient(loser), OfClient(client))) return loser;
    return std::nullopt;
  }

 private:
  using Amounts = std::map<std::string, int64_t>;  // without zeros

  static void AddTo(Amounts& amounts, const std::string& name, int64_t amount) {
    if ((amounts[name] += amount) == 0) amounts.erase(name);
  }
  static int64_t Find(const Amounts& amounts, const std::string& name) {
    const auto it = amounts.find(name);
    return it == amounts.end() ? 0 : it->second;
  }
  // The entry with the most of those that `accepts`, the first of equals.
  template <typename Accepts>
  static Amounts::const_iterator Most(const Amounts& amounts, const Accepts& accepts) {
    auto most = amounts.end();
    for (auto it = amounts.begin(); it != amounts.end(); ++it) {
      if (accepts(it->first) && (most == amounts.end() || it->second > most->second)) most = it;
    }
    return most;
  }
  // REQUIRES: the tenant holds something.
  const std::string& GreediestOf(const std::string& tenant) const {
    return Most(clients_, [&](const std::string& client) { return TenantOf(client) == tenant; })
        ->first;
  }

  Amounts clients_;
  Amounts tenants_;
};

}  // namespace vl2
