// PeerAllowList: which language services embeddings may be sent to. An address comes with a
// request, so without a list anybody could make this service connect anywhere.
//
// Names are resolved by a thread of its own, again and again, since a service's replicas change.
// The gateway learns of a change earlier or later than this list does, so
// - an address stays allowed for a while after its name has lost it: the replica ends what it has
// begun;
// - an address that is not known yet is looked up once (Ask) before it is refused.
//
// Owns: that thread. Threading: thread-safe; Check and Ask never wait.
// Limits: kMaxAskers; one look-up for them in kMinPauseMs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/mutex.h"

namespace vl2 {

struct PeerAllowListOptions {
  // "host" or "host:port"; a host is a name or a numeric address. None: loopback addresses only.
  std::vector<std::string> entries = {};
  int64_t resolve_interval_ms = 2000;
  // How long an address stays allowed after its name has lost it. 0: what the names had when they
  // were last resolved is all that is allowed, and nothing is looked up for one request.
  int64_t keep_ms = 600'000;
  // The numeric addresses of a name, none when it cannot be resolved now; empty: the system's
  // resolver.
  std::function<std::vector<std::string>(const std::string& host)> resolve = {};

  absl::Status Validate() const;
};

class PeerAllowList {
 public:
  static constexpr size_t kMaxAskers = 1024;
  static constexpr int kMinPauseMs = 50;
  using Answer = std::function<void(const absl::Status&)>;

  // INVALID_ARGUMENT names an entry that is neither.
  static absl::StatusOr<std::unique_ptr<PeerAllowList>> Make(const PeerAllowListOptions& options);
  // Askers without an answer get none.
  ~PeerAllowList();

  // PERMISSION_DENIED unless "host:port" is an entry, or the numeric address of one.
  absl::Status Check(const std::string& address) const;
  // The same after the names have been resolved once more: OK when `answer` will be called for it,
  // once and from the thread, where it must not block. PERMISSION_DENIED when the address is
  // refused without that.
  absl::Status Ask(const std::string& address, Answer answer);

  int64_t num_asking() const;   // addresses that wait for their answer
  int64_t num_refused() const;  // by Ask, at once or later

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::string host;
    int port = 0;  // 0: any
    bool numeric = false;
  };
  PeerAllowList(PeerAllowListOptions options, std::vector<Entry> entries);
  void Run();
  void Resolve();
  absl::Status Refuse(const std::string& address, const std::string& reason);

  const PeerAllowListOptions options_;
  const std::vector<Entry> entries_;
  mutable Mutex mutex_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // By entry: when its name was last seen to have the address.
  std::vector<std::map<std::string, Clock::time_point>> addresses_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<std::string, Answer>> askers_ ABSL_GUARDED_BY(mutex_);
  int64_t num_refused_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace vl2
