// Scheduler, part: what one sequence takes from another, and from whom.
//
// None of it can go round in a circle. Other clients never take the oldest running sequence of a
// tenant, and growth never preempts the oldest of the highest priority: it ends, and so does the
// next. After an exchange the loser still has at least as much as the winner, or a lower priority,
// and takes nothing back.
#include <algorithm>
#include <utility>

#include "lm_service/scheduler/scheduler.h"
#include "runtime/base/holdings.h"

namespace vl2 {
namespace {

// The newest of the lowest priority, if that is lower than `priority`; else nullptr.
Sequence* NewestOfLower(const std::vector<Sequence*>& oldest_first, int priority) {
  Sequence* lowest = nullptr;
  for (Sequence* const sequence : oldest_first) {
    if (sequence->priority() >= priority) continue;
    if (lowest == nullptr || sequence->priority() <= lowest->priority()) lowest = sequence;
  }
  return lowest;
}

// The newest of the client that has no higher priority.
Sequence* NewestOf(const std::vector<Sequence*>& oldest_first, const std::string& client,
                   int priority) {
  for (auto it = oldest_first.rbegin(); it != oldest_first.rend(); ++it) {
    if ((*it)->client() == client && (*it)->priority() <= priority) return *it;
  }
  return nullptr;
}

}  // namespace

bool Scheduler::TakeRunningPlaces(const Sequence& for_whom) {
  std::vector<Sequence*> oldest_first;
  Holdings holdings;
  for (const auto& sequence : running_) {
    oldest_first.push_back(sequence.get());
    holdings.Add(sequence->client(), 1);
  }
  // Twice as many, so that a client that asks again whenever an answer ends does not, each time,
  // undo what another has just begun.
  const auto must_yield = [](const std::string&, int64_t its, int64_t own) {
    return its >= 2 * (own + 1);
  };
  const int64_t missing_blocks = NumMissingBlocks(for_whom);
  std::vector<Sequence*> victims;
  int64_t num_places = options_.max_running - Scheduler::num_running();
  int64_t num_blocks = 0;  // at most: others may have some of them pinned too
  while (num_places < 1 || num_blocks < missing_blocks) {
    Sequence* victim = NewestOfLower(oldest_first, for_whom.priority());
    if (victim == nullptr) {
      const auto loser = holdings.Loser(for_whom.client(), must_yield);
      if (loser) victim = NewestOf(oldest_first, *loser, for_whom.priority());
    }
    if (victim == nullptr) return false;
    victims.push_back(victim);
    std::erase(oldest_first, victim);
    holdings.Add(victim->client(), -1);
    ++num_places;
    num_blocks += victim->num_blocks();
  }
  for (Sequence* const victim : victims) Preempt(*victim);
  return true;
}

bool Scheduler::TakeHostMemory(const Sequence& for_whom) {
  std::vector<Sequence*> oldest_first;
  Holdings holdings;
  ForEach([&](Sequence& sequence) {
    if (sequence.reserved_bytes() == 0) return;
    oldest_first.push_back(&sequence);
    holdings.Add(sequence.client(), sequence.reserved_bytes());
  });
  const int64_t needed = for_whom.EmbeddingBytes();
  Sequence* victim = nullptr;
  const auto must_yield = [&](const std::string& loser, int64_t its, int64_t own) {
    victim = NewestOf(oldest_first, loser, for_whom.priority());
    return victim != nullptr && its - victim->reserved_bytes() >= own + needed;
  };
  std::vector<Sequence*> victims;
  int64_t num_free = options_.max_embedding_bytes - reserved_bytes_;
  while (num_free < needed) {
    victim = NewestOfLower(oldest_first, for_whom.priority());
    if (victim == nullptr && !holdings.Loser(for_whom.client(), must_yield)) return false;
    holdings.Add(victim->client(), -victim->reserved_bytes());
    num_free += victim->reserved_bytes();
    victims.push_back(victim);
    std::erase(oldest_first, victim);
  }
  for (Sequence* const taken : victims) {
    if (taken->is_running()) Preempt(*taken);
    reserved_bytes_ -= taken->reserved_bytes();
    taken->DropEmbeddings();
  }
  return true;
}

Sequence& Scheduler::NewestOfGreediest() const {
  int lowest = kMaxPriority;
  for (const auto& sequence : running_) lowest = std::min(lowest, sequence->priority());
  Holdings holdings;
  for (const auto& sequence : running_) {
    if (sequence->priority() == lowest) holdings.Add(sequence->client(), 1);
  }
  const auto amounts = [&](const Sequence& sequence) {
    return std::pair(holdings.OfTenant(TenantOf(sequence.client())),
                     holdings.OfClient(sequence.client()));
  };
  Sequence* greediest = nullptr;
  for (const auto& sequence : running_) {
    if (sequence->priority() != lowest) continue;
    if (greediest == nullptr || amounts(*sequence) >= amounts(*greediest)) {
      greediest = sequence.get();
    }
  }
  return *greediest;
}

bool Scheduler::Grow(Sequence& sequence, int sample, Clock::time_point now) {
  const int64_t missing = sequence.NumBlocksToGrow(sample);
  if (missing <= 0) return true;
  for (;;) {
    if (const auto blocks = TakeBlocks(missing)) {
      sequence.Grow(sample, *blocks);
      return true;
    }
    Sequence& victim = NewestOfGreediest();
    if (&victim != &sequence) {
      Preempt(victim);
    } else if (running_.size() > 1 || !DropWaitingPins(nullptr, now)) {
      return false;
    }
  }
}

void Scheduler::Preempt(Sequence& sequence) {
  sequence.Preempt(prefix_cache_, allocator_);
  ++num_preemptions_;
  const auto it = std::find_if(running_.begin(), running_.end(),
                               [&](const auto& other) { return other.get() == &sequence; });
  waiting_.push_front(std::move(*it));
  running_.erase(it);
}

bool Scheduler::DropWaitingPins(const Sequence* for_whom, Clock::time_point now) {
  for (auto it = waiting_.rbegin(); it != waiting_.rend(); ++it) {
    Sequence& sequence = **it;
    if (sequence.num_shared_blocks() == 0 || &sequence == for_whom) continue;
    sequence.GiveUpPrefix(prefix_cache_, allocator_, now);
    return true;
  }
  return false;
}

}  // namespace vl2
