// UploadTickets: which sequences take uploads, and the tokens that prove an uploader was told so.
//
// A token is 128 random bits for one slot of one sequence. Whoever knows it may fill that slot, and
// nothing else.
//
// Owns: the tokens. Threading: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "runtime/base/mutex.h"

namespace vl2 {

class UploadTickets {
 public:
  // New tokens, one a slot, in hexadecimal.
  static std::vector<std::string> MakeTokens(size_t num_slots);

  void Add(uint64_t sequence, std::vector<std::string> tokens);
  void Remove(uint64_t sequence);

  // NOT_FOUND: no such sequence (any more). INVALID_ARGUMENT: no such slot. PERMISSION_DENIED:
  // another token. The comparison takes the same time for every wrong token.
  absl::Status Check(uint64_t sequence, int32_t slot, std::string_view token) const;

 private:
  mutable Mutex mutex_;
  std::unordered_map<uint64_t, std::vector<std::string>> tokens_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2
