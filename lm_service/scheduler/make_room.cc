// Scheduler, part: what one sequence takes from another, and from whom.
//
// None of it can go round in a circle. Other clients never take the oldest running sequence of a
// client, and growth never preempts the oldest of all: it ends, and so does the next. After an
// exchange the loser still has at least as much as the winner, and takes nothing back.
#include <algorithm>
#include <map>

#include "lm_service/scheduler/scheduler.h"

namespace vl2 {
namespace {

using Amounts = std::map<std::string, int64_t>;  // by client

// The client that has most, the first of equals. REQUIRES: there is one.
const std::string& Greediest(const Amounts& amounts) {
  return std::max_element(amounts.begin(), amounts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace

bool Scheduler::TakeRunningPlaces(const Sequence& for_whom) {
  if (running_.empty()) return false;
  Amounts num_running;
  for (const auto& sequence : running_) ++num_running[sequence->client()];
  // Twice as many, so that a client that asks again whenever an answer ends does not, each time,
  // undo what another has just begun.
  const int64_t least = 2 * (num_running[for_whom.client()] + 1);

  const int64_t missing_blocks = NumMissingBlocks(for_whom);
  std::vector<Sequence*> victims;
  int64_t num_places = options_.max_running - Scheduler::num_running();
  int64_t num_blocks = 0;  // at most: others may have some of them pinned too
  while (num_places < 1 || num_blocks < missing_blocks) {
    const std::string& client = Greediest(num_running);
    if (num_running[client] < least) return false;
    const auto newest = std::find_if(running_.rbegin(), running_.rend(), [&](const auto& sequence) {
      return sequence->client() == client &&
             std::find(victims.begin(), victims.end(), sequence.get()) == victims.end();
    });
    victims.push_back(newest->get());
    --num_running[client];
    ++num_places;
    num_blocks += (*newest)->num_blocks();
  }
  for (Sequence* const victim : victims) Preempt(*victim);
  return true;
}

bool Scheduler::TakeHostMemory(const Sequence& for_whom) {
  std::vector<Sequence*> oldest_first;
  Amounts num_bytes;
  ForEach([&](Sequence& sequence) {
    if (sequence.reserved_bytes() == 0) return;
    oldest_first.push_back(&sequence);
    num_bytes[sequence.client()] += sequence.reserved_bytes();
  });
  const int64_t needed = for_whom.EmbeddingBytes();
  const int64_t wanted = num_bytes[for_whom.client()] + needed;

  std::vector<Sequence*> victims;
  int64_t num_free = options_.max_embedding_bytes - reserved_bytes_;
  while (num_free < needed) {
    const std::string& client = Greediest(num_bytes);
    const auto newest =
        std::find_if(oldest_first.rbegin(), oldest_first.rend(),
                     [&](const Sequence* sequence) { return sequence->client() == client; });
    if (newest == oldest_first.rend()) return false;
    const int64_t taken = (*newest)->reserved_bytes();
    if (num_bytes[client] - taken < wanted) return false;
    num_bytes[client] -= taken;
    num_free += taken;
    victims.push_back(*newest);
    oldest_first.erase(std::next(newest).base());
  }
  for (Sequence* const victim : victims) {
    if (victim->is_running()) Preempt(*victim);
    reserved_bytes_ -= victim->reserved_bytes();
    victim->DropEmbeddings();
  }
  return true;
}

Sequence& Scheduler::NewestOfGreediest() const {
  Amounts num_running;
  int64_t most = 0;
  for (const auto& sequence : running_) most = std::max(most, ++num_running[sequence->client()]);
  return **std::find_if(running_.rbegin(), running_.rend(), [&](const auto& sequence) {
    return num_running[sequence->client()] == most;
  });
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
