#include "gateway/session/request_id.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <random>

namespace vl2::gateway {

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= kMaxRequestIdBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

std::string MakeRequestId() {
  thread_local std::mt19937_64 generator((uint64_t{std::random_device{}()} << 32) ^
                                         std::random_device{}());
  std::array<char, 24> text;
  std::snprintf(text.data(), text.size(), "req-%016llx",
                static_cast<unsigned long long>(generator()));
  return text.data();
}

}  // namespace vl2::gateway
