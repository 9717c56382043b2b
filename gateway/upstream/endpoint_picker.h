// PickEndpoint: which replica gets the next request.
//
// By affinity: every replica has a score that depends on the request's affinity and its own
// address; the highest one wins (rendezvous hashing), so that equal prefixes meet the same cache
// and a replica that comes or goes moves only its own share. By load: a replica that has
// kLoadSlack more requests outstanding than the least loaded one is passed over.
// Without affinity, the least loaded wins; of equals, the one next in turn.
//
// Pure function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vl2::gateway {

inline constexpr int64_t kLoadSlack = 4;

struct EndpointLoad {
  std::string address;
  int64_t outstanding = 0;
};

// Index into `endpoints`; nothing when there are none. Those in `avoid` are used only when no other
// is left. `turn` is any number that grows from pick to pick.
std::optional<size_t> PickEndpoint(std::span<const EndpointLoad> endpoints,
                                   std::span<const std::string> avoid,
                                   std::optional<uint64_t> affinity, uint64_t turn);

}  // namespace vl2::gateway
