// NextTurn: which of some pictures goes ahead, when their clients take turns.
//
// Threading: pure function; the engine's mutex guards what it reads.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "vision_service/engine/encoding.h"
#include "vision_service/engine/turn_order.h"

namespace vl2 {

struct Turn {
  std::shared_ptr<Encoding> encoding;  // nullptr: nobody's
  std::string client;                  // on whose account
};

// Of the encodings that `wanted` accepts those of the highest priority, of them the one with the
// client whose turn it is; of that client's the oldest. The caller tells `turns` when it serves the
// client.
template <typename Wanted>
Turn NextTurn(const std::deque<std::shared_ptr<Encoding>>& oldest_first, const TurnOrder& turns,
              const Wanted& wanted) {
  Turn next;
  TurnOrder::Turn next_turn;
  for (const std::shared_ptr<Encoding>& encoding : oldest_first) {
    if (!wanted(*encoding)) continue;
    for (const auto& [client, num_subscriptions] : encoding->clients) {
      const TurnOrder::Turn turn = turns.LastTurn(client);
      if (next.encoding != nullptr) {
        const int than_next = encoding->priority - next.encoding->priority;
        if (than_next < 0 || (than_next == 0 && turn >= next_turn)) continue;
      }
      next_turn = turn;
      next = {encoding, client};
    }
  }
  return next;
}

}  // namespace vl2
