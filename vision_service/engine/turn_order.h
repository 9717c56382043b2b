// TurnOrder: whose turn it is. The client that was served longest ago goes first, so that clients
// with something to do take turns, however much each has waiting.
//
// A client that has nothing waiting any more is forgotten, and goes first when it comes back.
// Threading: none of its own, the owner's mutex guards it.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace vl2 {

class TurnOrder {
 public:
  // Smaller goes first; 0: not served since it came.
  uint64_t LastTurn(const std::string& client) const {
    const auto it = last_turns_.find(client);
    return it == last_turns_.end() ? 0 : it->second;
  }
  void Serve(const std::string& client) { last_turns_[client] = ++num_turns_; }
  void Forget(const std::string& client) { last_turns_.erase(client); }

 private:
  uint64_t num_turns_ = 0;
  std::unordered_map<std::string, uint64_t> last_turns_;
};

}  // namespace vl2
