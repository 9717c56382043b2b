// ApiKeys: who may ask, and how much. A file names the keys, by their digests; it is read again
// when it changes, while requests run.
//
//   # name  sha256-of-the-key  tenant  requests/min  concurrent  tokens/min  [admin] [priority=N]
//   alice   9f86d0…            acme    600           16          -           admin
//
// A priority is in [-100, 100] and 0 where none is given (client_name.h).
// "-" is no limit. Requests and tokens come from buckets that hold a minute's worth; tokens are
// taken when a request has ended, so the one that empties the bucket is served. Keys of one tenant
// share its prefix cache and its turns where clients compete; limits are a key's own, and outlive a
// reload by its name.
//
// A key is found by its digest, so that no comparison's time tells how much of a guess was right.
//
// Owns: a thread that looks at the file. Threading: thread-safe.
// Errors: of Open and Parse, INVALID_ARGUMENT naming line and field. A file that turns bad keeps
// the keys of before. UNAUTHENTICATED for no key or a wrong one; RESOURCE_EXHAUSTED with the
// limit's name, value, and the time after which it has room (RetryAfterOf, 1 to 60 s).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/mutex.h"

namespace vl2::gateway {

struct ApiKey {
  std::string name;  // for metrics and messages
  std::string tenant;
  int64_t requests_per_min = 0;  // 0: no limit, as for the others
  int64_t concurrent = 0;
  int64_t tokens_per_min = 0;  // of prompts and answers
  bool is_admin = false;
  int priority = 0;
};

class ApiKeys {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMaxKeys = 100'000;

  // One request of a key; counts as running while it lives.
  class Use {
   public:
    Use(ApiKeys& keys, ApiKey key) : keys_(keys), key_(std::move(key)) {}
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    const ApiKey& key() const { return key_; }
    void Charge(int64_t num_tokens);

   private:
    ApiKeys& keys_;
    const ApiKey key_;
  };

  // Keys by the lower-case hexadecimal SHA-256 of what clients show.
  static absl::StatusOr<std::map<std::string, ApiKey>> Parse(std::string_view text);

  // `on_limited` hears of the key's and the limit's name. Looks at the file every `interval`.
  static absl::StatusOr<std::unique_ptr<ApiKeys>> Open(
      const std::string& path, std::function<void(const std::string&, const char*)> on_limited = {},
      std::chrono::milliseconds interval = std::chrono::milliseconds(1000));
  // The uses have ended by then.
  ~ApiKeys();

  // `authorization` is a header's value, "Bearer KEY".
  absl::StatusOr<ApiKey> Find(std::string_view authorization) const;
  // Find, and takes a request from the key's limits.
  absl::StatusOr<std::unique_ptr<Use>> Begin(std::string_view authorization, Clock::time_point now);

  int64_t num_keys() const;
  int64_t num_failed_reloads() const { return num_failed_reloads_; }

 private:
  // A bucket of so many a minute.
  struct Bucket {
    double level = 0;
    Clock::time_point last{};
    bool is_new = true;
    void Fill(int64_t per_min, Clock::time_point now);
  };
  struct Account {
    Bucket requests, tokens;
    int64_t num_running = 0;
  };

  ApiKeys(std::string path, std::function<void(const std::string&, const char*)> on_limited)
      : path_(std::move(path)), on_limited_(std::move(on_limited)) {}
  // Reads the file if it is another one than before.
  absl::Status Load();
  void Watch(std::chrono::milliseconds interval);
  absl::Status Limited(const ApiKey& key, const char* limit, int64_t value, double seconds) const;

  const std::string path_;
  const std::function<void(const std::string&, const char*)> on_limited_;
  std::atomic<int64_t> num_failed_reloads_{0};
  mutable Mutex mutex_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, ApiKey> keys_ ABSL_GUARDED_BY(mutex_);       // by digest
  std::map<std::string, Account> accounts_ ABSL_GUARDED_BY(mutex_);  // by name
  std::string text_;  // of the file, as last looked at; of the watching thread after Open
  std::thread thread_;
};

// The name by which the services know who asks with a key (client_name.h): its tenant, and within
// that the key and `client_id`, where it asks from.
std::string ClientIdOfKey(const ApiKey& key, const std::string& client_id);
// Whose prefixes may be shared: a tenant's. A client's own salt narrows it.
std::string SaltOfTenant(const std::string& tenant, const std::string& salt);

}  // namespace vl2::gateway
