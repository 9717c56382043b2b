#include "lm_service/scheduler/client_turns.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/client_name.h"

namespace vl2 {

void ClientTurns::Enter(const std::string& client) {
  const auto it = Find(client);
  if (it == entries_.end()) {
    entries_.push_back({client, 1});
  } else {
    ++it->num_sequences;
  }
}

void ClientTurns::Leave(const std::string& client) {
  const auto it = Find(client);
  VL2_CHECK(it != entries_.end()) << "client " << client << " has no sequence";
  if (--it->num_sequences == 0) entries_.erase(it);
}

std::vector<ClientTurns::Entry>::iterator ClientTurns::Find(const std::string& client) {
  return std::find_if(entries_.begin(), entries_.end(),
                      [&](const Entry& entry) { return entry.client == client; });
}

void ClientTurns::EndTurn(const std::function<bool(const std::string&)>& was_served) {
  std::stable_partition(entries_.begin(), entries_.end(),
                        [&](const Entry& entry) { return !was_served(entry.client); });
}

std::vector<int64_t> FairShares(const std::vector<int64_t>& demands, int64_t budget) {
  std::vector<int64_t> shares(demands.size(), 0);
  for (;;) {
    int64_t num_open = 0;
    for (size_t i = 0; i < demands.size(); ++i) num_open += shares[i] < demands[i];
    if (num_open == 0 || budget <= 0) return shares;
    const int64_t each = std::max<int64_t>(1, budget / num_open);
    for (size_t i = 0; i < demands.size(); ++i) {
      const int64_t more = std::min({each, demands[i] - shares[i], budget});
      if (more <= 0) continue;
      shares[i] += more;
      budget -= more;
    }
  }
}

std::vector<int64_t> TenantShares(const std::vector<std::string>& clients,
                                  const std::vector<int64_t>& demands, int64_t budget,
                                  const std::map<std::string, int64_t>& limits) {
  // Tenants in the order of their first clients.
  std::vector<std::string> tenants;
  std::vector<std::vector<size_t>> members;
  std::vector<int64_t> sums;
  for (size_t i = 0; i < clients.size(); ++i) {
    const std::string tenant = TenantOf(clients[i]);
    const auto it = std::find(tenants.begin(), tenants.end(), tenant);
    const auto t = static_cast<size_t>(it - tenants.begin());
    if (it == tenants.end()) {
      tenants.push_back(tenant);
      members.emplace_back();
      sums.push_back(0);
    }
    members[t].push_back(i);
    sums[t] += demands[i];
  }
  for (size_t t = 0; t < tenants.size(); ++t) {
    const auto limit = limits.find(tenants[t]);
    if (limit != limits.end()) sums[t] = std::min(sums[t], limit->second);
  }
  const std::vector<int64_t> of_tenants = FairShares(sums, budget);
  std::vector<int64_t> shares(demands.size(), 0);
  for (size_t t = 0; t < tenants.size(); ++t) {
    std::vector<int64_t> own;
    for (const size_t i : members[t]) own.push_back(demands[i]);
    const std::vector<int64_t> divided = FairShares(own, of_tenants[t]);
    for (size_t m = 0; m < members[t].size(); ++m) shares[members[t][m]] = divided[m];
  }
  return shares;
}

}  // namespace vl2
