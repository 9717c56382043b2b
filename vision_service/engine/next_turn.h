// NextTurn: which of some pictures goes ahead, when their clients take turns.
//
// Threading: pure function; the engine's mutex guards what it reads.
#pragma once

#include <deque>
#include <limits>
#include <memory>
#include <string>

#include "vision_service/engine/turn_order.h"
#include "vision_service/engine/encoding.h"

namespace vl2 {

struct Turn {
  std::shared_ptr<Encoding> encoding;  // nullptr: nobody's
  std::string client;                  // on whose account
};

// Of the encodings that `wanted` accepts the one with the client that was served longest ago; of
// that client's the oldest. The caller tells `turns` when it serves the client.
template <typename Wanted>
Turn NextTurn(const std::deque<std::shared_ptr<Encoding>>& oldest_first, const TurnOrder& turns,
              const Wanted& wanted) {
  Turn next;
  uint64_t next_turn = std::numeric_limits<uint64_t>::max();
  for (const std::shared_ptr<Encoding>& encoding : oldest_first) {
    if (!wanted(*encoding)) continue;
    for (const auto& [client, num_subscriptions] : encoding->clients) {
      const uint64_t turn = turns.LastTurn(client);
      if (turn >= next_turn) continue;
      next_turn = turn;
      next = {encoding, client};
    }
  }
  return next;
}

}  // namespace vl2
