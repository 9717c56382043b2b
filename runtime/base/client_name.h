// Who asks, as the services know it: "TENANT/CLIENT", or a plain name that is a tenant of its own.
// Both parts are opaque. Tenants take turns where they compete, and the clients of one tenant
// within its turn, so that a tenant gets no more by having many clients.
//
// A request's priority goes before all turns: of what waits the highest goes first, and where
// something must give way the lowest does. Equal priorities, the usual case, share as above.
#pragma once

#include <string>
#include <string_view>

namespace vl2 {

inline constexpr int kMaxPriority = 100;  // the least is -100, the usual 0

inline std::string TenantOf(std::string_view client_id) {
  return std::string(client_id.substr(0, client_id.find('/')));
}

}  // namespace vl2
