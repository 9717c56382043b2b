// TokenHistory: which tokens a sequence holds, and how often its answer used each; what penalties
// are computed from. Grows by one token a step.
//
// Owns: one entry per distinct token. Threading: as the sequence it belongs to.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace vl2 {

class TokenHistory {
 public:
  struct Entry {
    int32_t id;
    int32_t num_generated;  // 0: only in the prompt
  };

  void AddPrompt(std::span<const int32_t> ids) {
    for (const int32_t id : ids) Find(id);
  }
  void AddGenerated(int32_t id) { ++Find(id).num_generated; }

  // Distinct tokens, in order of first occurrence.
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& Find(int32_t id) {
    const auto [it, is_new] = index_.emplace(id, entries_.size());
    if (is_new) entries_.push_back({id, 0});
    return entries_[it->second];
  }

  std::vector<Entry> entries_;
  std::unordered_map<int32_t, size_t> index_;
};

}  // namespace vl2
