// PeerAllowList: which language services embeddings may be sent to. An address comes with a
// request, so without a list anybody could make this service connect anywhere.
//
// Names are resolved by a thread of its own, again and again, since a service's replicas change.
//
// Owns: that thread. Threading: thread-safe; Check never waits.
#pragma once

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/mutex.h"

namespace vl2 {

class PeerAllowList {
 public:
  static constexpr int kRefreshMs = 2000;

  // `entries` are "host" or "host:port"; a host is a name or a numeric address. None: loopback
  // addresses only. INVALID_ARGUMENT names an entry that is neither.
  static absl::StatusOr<std::unique_ptr<PeerAllowList>> Make(
      const std::vector<std::string>& entries);
  ~PeerAllowList();

  // PERMISSION_DENIED unless "host:port" is an entry, or the numeric address of one.
  absl::Status Check(const std::string& address) const;

 private:
  struct Entry {
    std::string host;
    int port = 0;  // 0: any
  };
  explicit PeerAllowList(std::vector<Entry> entries) : entries_(std::move(entries)) {}
  void Resolve();

  const std::vector<Entry> entries_;
  mutable Mutex mutex_;
  CondVar stopped_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::set<std::string>> addresses_ ABSL_GUARDED_BY(mutex_);  // by entry
  std::thread thread_;
};

}  // namespace vl2
