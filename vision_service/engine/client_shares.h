// ClientShares: one bounded resource (pictures, bytes, tiles) and who holds how much of it.
// What is said of clients holds for tenants (client_name.h); a tenant's share is divided between
// its clients in the same way.
//
// While there is room, anybody may take it: one client alone may use everything. When the resource
// is full, a client may still take up to its share, the capacity divided by the number of clients
// that hold something, and always one amount when it holds nothing: whoever filled it before others
// came does not keep them out. What goes beyond the capacity that way is bounded by a second one:
// the total never exceeds twice the capacity. Nothing that was given is taken away.
//
// Threading: none of its own, the owner's mutex guards it.
// Errors: RESOURCE_EXHAUSTED naming the total and the limit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "runtime/base/holdings.h"

namespace vl2 {

class ClientShares {
 public:
  // The texts are for messages: "pictures are held", the flag, "the picture has" (or nothing).
  ClientShares(int64_t capacity, std::string_view what, std::string_view limit_name,
               std::string_view asked = {})
      : capacity_(capacity), what_(what), limit_name_(limit_name), asked_(asked) {}

  // REQUIRES: amount > 0.
  absl::Status Take(const std::string& client, int64_t amount);
  // REQUIRES: the client holds as much.
  void Return(const std::string& client, int64_t amount);

  int64_t total() const { return total_; }
  int64_t num_clients() const { return held_.num_clients(); }

 private:
  const int64_t capacity_;
  const std::string what_;
  const std::string limit_name_;
  const std::string asked_;
  int64_t total_ = 0;
  Holdings held_;
};

}  // namespace vl2
