#include "gateway/http/departure_watch.h"

#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <map>
#include <utility>
#include <vector>

#include "boost/asio/posix/stream_descriptor.hpp"
#include "runtime/base/check.h"
#include "runtime/base/mutex.h"

namespace vl2::gateway {

namespace asio = boost::asio;

struct DepartureWatch::Shared : std::enable_shared_from_this<DepartureWatch::Shared> {
  explicit Shared(const asio::any_io_executor& executor)
      : epoll(executor, ::epoll_create1(EPOLL_CLOEXEC)) {}

  // Waits for epoll itself to become readable; one wait at a time.
  void Wait() {
    epoll.async_wait(asio::posix::descriptor_base::wait_read,
                     [weak = weak_from_this()](const boost::system::error_code& error) {
                       const auto self = weak.lock();
                       if (error || self == nullptr) return;
                       self->CallThoseWhoLeft();
                       self->Wait();
                     });
  }

  void CallThoseWhoLeft() {
    std::array<epoll_event, 64> events;
    const int count = ::epoll_wait(descriptor, events.data(), static_cast<int>(events.size()), 0);
    std::vector<std::function<void()>> calls;
    {
      MutexLock lock(&mutex);
      for (int i = 0; i < count; ++i) {
        const auto found = callbacks.find(events[static_cast<size_t>(i)].data.u64);
        if (found == callbacks.end()) continue;
        calls.push_back(std::move(found->second));
        callbacks.erase(found);
      }
    }
    for (const auto& call : calls) call();
  }

  asio::posix::stream_descriptor epoll;
  const int descriptor = epoll.native_handle();
  mutable Mutex mutex;
  std::map<uint64_t, std::function<void()>> callbacks ABSL_GUARDED_BY(mutex);
  uint64_t next_id ABSL_GUARDED_BY(mutex) = 1;
};

DepartureWatch::DepartureWatch(const asio::any_io_executor& executor)
    : shared_(std::make_shared<Shared>(executor)) {
  VL2_CHECK(shared_->descriptor >= 0) << "no epoll instance, errno " << errno;
  shared_->Wait();
}

DepartureWatch::~DepartureWatch() {
  boost::system::error_code ignored;
  shared_->epoll.close(ignored);
}

std::unique_ptr<DepartureWatch::Watch> DepartureWatch::Start(int descriptor,
                                                             std::function<void()> left) {
  uint64_t id = 0;
  {
    MutexLock lock(&shared_->mutex);
    id = shared_->next_id++;
    shared_->callbacks.emplace(id, std::move(left));
  }
  epoll_event event = {};
  event.events = EPOLLRDHUP | EPOLLONESHOT;  // errors and hang-ups are always told
  event.data.u64 = id;
  if (::epoll_ctl(shared_->descriptor, EPOLL_CTL_ADD, descriptor, &event) != 0) {
    MutexLock lock(&shared_->mutex);
    shared_->callbacks.erase(id);
    return nullptr;
  }
  return std::unique_ptr<Watch>(new Watch(shared_, descriptor, id));
}

DepartureWatch::Watch::~Watch() {
  epoll_event ignored = {};
  ::epoll_ctl(shared_->descriptor, EPOLL_CTL_DEL, descriptor_, &ignored);
  MutexLock lock(&shared_->mutex);
  shared_->callbacks.erase(id_);
}

int64_t DepartureWatch::num_watched() const {
  MutexLock lock(&shared_->mutex);
  return static_cast<int64_t>(shared_->callbacks.size());
}

}  // namespace vl2::gateway
