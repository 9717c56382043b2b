#include "gateway/http/name_resolver.h"

#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <thread>
#include <utility>

#include "runtime/base/log.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"

namespace vl2::gateway {

namespace {

namespace ip = boost::asio::ip;
using Clock = std::chrono::steady_clock;

constexpr int kTryMs = 2500;
constexpr int kTries = 3;
// A channel without look-ups that is older than this is opened anew for the next one.
constexpr auto kChannelAge = std::chrono::seconds(30);

NameResolver::Addresses ToAddresses(const ares_addrinfo& found) {
  NameResolver::Addresses addresses;
  for (const ares_addrinfo_node* node = found.nodes; node != nullptr; node = node->ai_next) {
    if (node->ai_family == AF_INET) {
      sockaddr_in address;
      std::memcpy(&address, node->ai_addr, sizeof(address));
      addresses.push_back(ip::make_address_v4(ntohl(address.sin_addr.s_addr)));
    } else if (node->ai_family == AF_INET6) {
      sockaddr_in6 address;
      std::memcpy(&address, node->ai_addr, sizeof(address));
      ip::address_v6::bytes_type bytes;
      std::memcpy(bytes.data(), &address.sin6_addr, bytes.size());
      addresses.push_back(ip::make_address_v6(bytes));
    }
  }
  return addresses;
}

}  // namespace

class NameResolver::Core {
 public:
  explicit Core(std::string servers)
      : servers_(std::move(servers)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Core() {
    Stop();
    if (wake_ >= 0) ::close(wake_);
  }

  void Lookup(const std::string& host, Done done) {
    bool full = false;
    {
      MutexLock lock(&mutex_);
      if (stop_) return;
      full = num_lookups_ >= kMaxLookups;
      if (!full) {
        ++num_lookups_;
        asked_.push_back({host, std::move(done)});
        if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
      }
    }
    if (full) {
      return done(absl::ResourceExhaustedError(
          Cat(kMaxLookups, " names are being looked up, which is the limit; try again")));
    }
    Wake();
  }

  void Stop() {
    std::thread thread;
    {
      MutexLock lock(&mutex_);
      stop_ = true;
      thread = std::move(thread_);
    }
    Wake();
    if (thread.joinable()) thread.join();
  }

  int64_t num_lookups() const {
    MutexLock lock(&mutex_);
    return num_lookups_;
  }

 private:
  struct Asked {
    std::string host;
    Done done;
  };
  // What c-ares brings back with its answer.
  struct Pending {
    Core* core;
    Done done;
  };

  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof(one));
  }

  void Run() {
    for (;;) {
      std::deque<Asked> asked;
      {
        MutexLock lock(&mutex_);
        if (stop_) break;
        asked.swap(asked_);
      }
      for (Asked& each : asked) Begin(std::move(each));
      Wait();
    }
    // Its callbacks come now; they find stop_ and say nothing.
    if (channel_ != nullptr) ares_destroy(channel_);
  }

  // False when there is no name service to ask.
  bool Open() {
    const auto now = Clock::now();
    if (channel_ != nullptr && num_pending_ == 0 && now - opened_ > kChannelAge) {
      ares_destroy(channel_);
      channel_ = nullptr;
    }
    if (channel_ != nullptr) return true;
    ares_options options = {};
    options.timeout = kTryMs;
    options.tries = kTries;
    if (ares_init_options(&channel_, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) !=
        ARES_SUCCESS) {
      channel_ = nullptr;
      return false;
    }
    opened_ = now;
    if (servers_.empty()) return true;
    return ares_set_servers_ports_csv(channel_, servers_.c_str()) == ARES_SUCCESS;
  }

  void Begin(Asked asked) {
    auto* const pending = new Pending{this, std::move(asked.done)};
    ++num_pending_;
    if (!Open()) return Finish(pending, absl::UnavailableError("the name service is not set up"));
    ares_addrinfo_hints hints = {};
    hints.ai_family = AF_UNSPEC;
    hints.ai_flags = ARES_AI_NOSORT;
    ares_getaddrinfo(
        channel_, asked.host.c_str(), nullptr, &hints,
        [](void* argument, int status, int, ares_addrinfo* found) {
          auto* const pending = static_cast<Pending*>(argument);
          absl::StatusOr<Addresses> result = absl::UnavailableError(ares_strerror(status));
          if (status == ARES_SUCCESS && found != nullptr) result = ToAddresses(*found);
          if (found != nullptr) ares_freeaddrinfo(found);
          pending->core->Finish(pending, std::move(result));
        },
        pending);
  }

  void Finish(Pending* pending, absl::StatusOr<Addresses> result) {
    --num_pending_;
    bool stopped = false;
    {
      MutexLock lock(&mutex_);
      --num_lookups_;
      stopped = stop_;
    }
    if (!stopped) pending->done(std::move(result));
    delete pending;
  }

  // Until something is to be read, a try has taken too long, or somebody asks.
  void Wait() {
    std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> sockets;
    const int wanted = channel_ == nullptr ? 0
                                           : ares_getsock(channel_, sockets.data(),
                                                          static_cast<int>(sockets.size()));
    std::vector<pollfd> polled = {{.fd = wake_, .events = POLLIN, .revents = 0}};
    for (int i = 0; i < static_cast<int>(sockets.size()); ++i) {
      short events = 0;
      if (ARES_GETSOCK_READABLE(wanted, i)) events |= POLLIN;
      if (ARES_GETSOCK_WRITABLE(wanted, i)) events |= POLLOUT;
      if (events != 0) {
        polled.push_back({.fd = sockets[static_cast<size_t>(i)], .events = events, .revents = 0});
      }
    }
    int timeout_ms = -1;
    if (channel_ != nullptr) {
      timeval longest = {.tv_sec = 1, .tv_usec = 0};
      timeval memory = {};
      const timeval* const next = ares_timeout(channel_, &longest, &memory);
      if (num_pending_ > 0) {
        timeout_ms = static_cast<int>(next->tv_sec * 1000 + next->tv_usec / 1000 + 1);
      }
    }
    ::poll(polled.data(), polled.size(), timeout_ms);
    uint64_t drained = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake_, &drained, sizeof(drained));
    if (channel_ == nullptr) return;
    for (size_t i = 1; i < polled.size(); ++i) {
      const bool readable = (polled[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0;
      const bool writable = (polled[i].revents & POLLOUT) != 0;
      ares_process_fd(channel_, readable ? polled[i].fd : ARES_SOCKET_BAD,
                      writable ? polled[i].fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // sees to timeouts
  }

  const std::string servers_;
  const int wake_;
  mutable Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t num_lookups_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Asked> asked_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(mutex_);

  // Of the thread alone.
  ares_channel channel_ = nullptr;
  Clock::time_point opened_{};
  int num_pending_ = 0;
};

NameResolver::NameResolver(std::string servers)
    : core_(std::make_unique<Core>(std::move(servers))) {}
NameResolver::~NameResolver() = default;
void NameResolver::Lookup(const std::string& host, Done done) {
  core_->Lookup(host, std::move(done));
}
void NameResolver::Stop() { core_->Stop(); }
int64_t NameResolver::num_lookups() const { return core_->num_lookups(); }

}  // namespace vl2::gateway
