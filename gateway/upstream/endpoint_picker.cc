#include "gateway/upstream/endpoint_picker.h"

#include <algorithm>

namespace vl2::gateway {
namespace {

uint64_t Score(uint64_t affinity, const std::string& address) {
  uint64_t hash = 0xcbf29ce484222325u ^ affinity;
  for (const char c : address) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  // FNV leaves the high bits nearly equal for addresses that differ in the last digit.
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  return hash ^ (hash >> 33);
}

}  // namespace

std::optional<size_t> PickEndpoint(std::span<const EndpointLoad> endpoints,
                                   std::span<const std::string> avoid,
                                   std::optional<uint64_t> affinity, uint64_t turn) {
  std::vector<size_t> candidates;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (std::find(avoid.begin(), avoid.end(), endpoints[i].address) == avoid.end()) {
      candidates.push_back(i);
    }
  }
  if (candidates.empty()) {
    for (size_t i = 0; i < endpoints.size(); ++i) candidates.push_back(i);
  }
  if (candidates.empty()) return std::nullopt;

  int64_t least = INT64_MAX;
  for (const size_t i : candidates) least = std::min(least, endpoints[i].outstanding);
  std::optional<size_t> best;
  if (!affinity) {
    for (size_t k = 0; k < candidates.size() && !best; ++k) {
      const size_t i = candidates[(turn + k) % candidates.size()];
      if (endpoints[i].outstanding == least) best = i;
    }
    return best;
  }
  uint64_t best_score = 0;
  for (const size_t i : candidates) {
    if (endpoints[i].outstanding >= least + kLoadSlack) continue;
    const uint64_t score = Score(*affinity, endpoints[i].address);
    if (best && score <= best_score) continue;
    best = i;
    best_score = score;
  }
  return best;
}

}  // namespace vl2::gateway
