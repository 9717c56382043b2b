// SocketDeadline: ends what a socket waits for when it takes too long.
//
// At its time the socket's operations end with operation_aborted, again and again until it is
// stopped, so that one that begins in the same moment ends too. The socket stays open: an answer
// can still be written. Setting a later time costs nothing, so it may be set before every
// operation.
//
// Threading: the socket's strand. The socket outlives this.
#pragma once

#include <chrono>
#include <memory>

#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/steady_timer.hpp"

namespace vl2::gateway {

class SocketDeadline {
 public:
  using Clock = std::chrono::steady_clock;

  explicit SocketDeadline(boost::asio::ip::tcp::socket& socket)
      : shared_(std::make_shared<Shared>(socket)) {}
  ~SocketDeadline() {
    shared_->socket = nullptr;
    shared_->timer.cancel();
  }
  SocketDeadline(const SocketDeadline&) = delete;
  SocketDeadline& operator=(const SocketDeadline&) = delete;

  void At(Clock::time_point when) {
    shared_->when = when;
    shared_->passed = false;
    // A wait that ends earlier goes on from there by itself.
    if (shared_->waiting && shared_->wakes <= when) return;
    Wait(shared_, when);
  }
  void After(Clock::duration duration) { At(Clock::now() + duration); }
  void Stop() {
    shared_->when = Clock::time_point::max();
    shared_->passed = false;
  }
  // Whether the time has come since it was set.
  bool passed() const { return shared_->passed; }

 private:
  static constexpr auto kAgain = std::chrono::milliseconds(20);

  struct Shared {
    explicit Shared(boost::asio::ip::tcp::socket& socket)
        : socket(&socket), timer(socket.get_executor()) {}
    boost::asio::ip::tcp::socket* socket;  // null: gone
    boost::asio::steady_timer timer;
    Clock::time_point when = Clock::time_point::max();
    Clock::time_point wakes{};
    bool waiting = false;
    bool passed = false;
  };

  static void Wait(const std::shared_ptr<Shared>& shared, Clock::time_point wakes) {
    shared->waiting = true;
    shared->wakes = wakes;
    shared->timer.expires_at(wakes);  // ends a wait that there was
    shared->timer.async_wait([shared](const boost::system::error_code& error) {
      if (error || shared->socket == nullptr) return;
      shared->waiting = false;
      if (shared->when == Clock::time_point::max()) return;
      const auto now = Clock::now();
      if (now < shared->when) return Wait(shared, shared->when);
      shared->passed = true;
      boost::system::error_code ignored;
      shared->socket->cancel(ignored);
      Wait(shared, now + kAgain);
    });
  }

  const std::shared_ptr<Shared> shared_;
};

}  // namespace vl2::gateway
