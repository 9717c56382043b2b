// TurnOrder: whose turn it is. The tenant that was served longest ago goes first, and of its
// clients (client_name.h) the one that was, so that all with something to do take turns, however
// much each has waiting.
//
// Who has nothing waiting any more is forgotten, and goes first when it comes back.
// Threading: none of its own, the owner's mutex guards it.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>

#include "runtime/base/client_name.h"

namespace vl2 {

class TurnOrder {
 public:
  using Turn = std::pair<uint64_t, uint64_t>;  // of the tenant, of the client

  // Smaller goes first; 0: not served since it came.
  Turn LastTurn(const std::string& client) const {
    return {Find(tenants_, TenantOf(client)), Find(clients_, client)};
  }
  void Serve(const std::string& client) {
    tenants_[TenantOf(client)] = clients_[client] = ++num_turns_;
  }
  // `tenant_too`: no other client of its tenant has anything waiting either.
  void Forget(const std::string& client, bool tenant_too) {
    clients_.erase(client);
    if (tenant_too) tenants_.erase(TenantOf(client));
  }

 private:
  using Turns = std::unordered_map<std::string, uint64_t>;
  static uint64_t Find(const Turns& turns, const std::string& name) {
    const auto it = turns.find(name);
    return it == turns.end() ? 0 : it->second;
  }

  uint64_t num_turns_ = 0;
  Turns tenants_, clients_;
};

}  // namespace vl2
