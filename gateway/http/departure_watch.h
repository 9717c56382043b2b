// DepartureWatch: tells when the peer of a connection has left, whatever it has sent before.
//
// A peer has left when it has closed or half-closed its side, or reset the connection. Bytes that
// nobody has read yet do not hide that, and stay in the socket: a socket cannot tell it by itself,
// so this asks epoll for it.
//
// Owns: the epoll instance. Threading: thread-safe; callbacks run on threads of the executor and
// must be short. A Watch goes before its descriptor is closed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "boost/asio/any_io_executor.hpp"

namespace vl2::gateway {

class DepartureWatch {
 private:
  struct Shared;

 public:
  explicit DepartureWatch(const boost::asio::any_io_executor& executor);
  ~DepartureWatch();
  DepartureWatch(const DepartureWatch&) = delete;
  DepartureWatch& operator=(const DepartureWatch&) = delete;

  // Ends the watching when it goes. A call that has begun by then goes on.
  class Watch {
   public:
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    friend class DepartureWatch;
    Watch(std::shared_ptr<Shared> shared, int descriptor, uint64_t id)
        : shared_(std::move(shared)), descriptor_(descriptor), id_(id) {}
    const std::shared_ptr<Shared> shared_;
    const int descriptor_;
    const uint64_t id_;
  };

  // `left` is called once when the peer leaves, at once when it has left already. Null when the
  // system has no room for another watch: that peer's leaving is then noticed when it is written
  // to.
  std::unique_ptr<Watch> Start(int descriptor, std::function<void()> left);

  int64_t num_watched() const;

 private:
  const std::shared_ptr<Shared> shared_;
};

}  // namespace vl2::gateway
