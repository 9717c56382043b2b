#include "lm_service/service/upload_tickets.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <array>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace vl2 {

std::vector<std::string> UploadTickets::MakeTokens(size_t num_slots) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::vector<std::string> tokens(num_slots);
  for (std::string& token : tokens) {
    std::array<uint8_t, 16> random;
    VL2_CHECK(RAND_bytes(random.data(), static_cast<int>(random.size())) == 1)
        << "the system gives no random numbers";
    for (const uint8_t byte : random) {
      token.push_back(kDigits[byte >> 4]);
      token.push_back(kDigits[byte & 15]);
    }
  }
  return tokens;
}

void UploadTickets::Add(uint64_t sequence, std::vector<std::string> tokens) {
  MutexLock lock(&mutex_);
  tokens_[sequence] = std::move(tokens);
}

void UploadTickets::Remove(uint64_t sequence) {
  MutexLock lock(&mutex_);
  tokens_.erase(sequence);
}

absl::Status UploadTickets::Check(uint64_t sequence, int32_t slot, std::string_view token) const {
  MutexLock lock(&mutex_);
  const auto it = tokens_.find(sequence);
  if (it == tokens_.end()) return absl::NotFoundError(Cat("no sequence ", sequence));
  if (slot < 0 || static_cast<size_t>(slot) >= it->second.size()) {
    return InvalidArgument("slot ", slot, " of a sequence with ", it->second.size(), " pictures");
  }
  const std::string& expected = it->second[static_cast<size_t>(slot)];
  if (token.size() != expected.size() ||
      CRYPTO_memcmp(token.data(), expected.data(), expected.size()) != 0) {
    return absl::PermissionDeniedError(
        Cat("wrong upload token for slot ", slot, " of sequence ", sequence));
  }
  return absl::OkStatus();
}

}  // namespace vl2
