// ClientTurns: the clients that have sequences in the engine, in the order of their turns.
//
// Who was served goes to the end, who comes new joins there: nobody is passed over twice.
// FairShares divides what there is between those that compete for it.
//
// Owns: one entry per client. Threading: engine thread only. Limits: as many clients as sequences.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace vl2 {

class ClientTurns {
 public:
  // A sequence of the client came, or ended.
  void Enter(const std::string& client);
  void Leave(const std::string& client);

  struct Entry {
    std::string client;
    int64_t num_sequences = 0;
  };
  // In order of turns.
  const std::vector<Entry>& entries() const { return entries_; }
  // Those for which `was_served` holds go to the end, in the order they have.
  void EndTurn(const std::function<bool(const std::string&)>& was_served);

 private:
  std::vector<Entry>::iterator Find(const std::string& client);

  std::vector<Entry> entries_;
};

// Divides `budget` so that nobody gets more than asked for, and nobody's share could grow except at
// the cost of a smaller one. What cannot be divided goes to the first. Shares, in the order of
// `demands`.
std::vector<int64_t> FairShares(const std::vector<int64_t>& demands, int64_t budget);

// The same between tenants, and then between the clients of each. `clients[i]` has demands[i]; a
// tenant gets no more than its entry in `limits`, where it has one.
std::vector<int64_t> TenantShares(const std::vector<std::string>& clients,
                                  const std::vector<int64_t>& demands, int64_t budget,
                                  const std::map<std::string, int64_t>& limits = {});

}  // namespace vl2
