// ExchangeInbox: everything that one HTTP exchange waits for, in one queue.
//
// The exchange's coroutine waits here and nowhere else (its own writes aside): results of work on
// other threads, the session's events, the client's leaving, the server's wish that it end. Nothing
// is ever cancelled by ending a coroutine from outside; when the exchange is over it closes its
// inbox, and what others still bring is dropped.
//
// Threading: Push, Interrupt and Adopt from any thread; the rest on the strand of `executor`.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/asio/any_io_executor.hpp"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/steady_timer.hpp"
#include "gateway/session/chat_session.h"
#include "runtime/base/mutex.h"

namespace vl2::gateway {

// The body has been read; the result is with the exchange's work.
struct BodyParsed {};
// An image named by address has come, or not.
struct ImageFetched {
  size_t number = 0;  // of the request's images named by address
  absl::StatusOr<std::string> bytes;
};
// The exchange must end: the client has left (CANCELLED), room is needed, the server stops.
struct Interrupted {
  absl::Status status;
};
using InboxItem = std::variant<BodyParsed, ImageFetched, ChatEvent, Interrupted>;

class ExchangeInbox : public std::enable_shared_from_this<ExchangeInbox> {
 public:
  // Events that may wait for a client that reads slowly; beyond that the exchange is interrupted.
  static constexpr size_t kMaxWaiting = 4096;

  explicit ExchangeInbox(boost::asio::any_io_executor executor)
      : executor_(executor), ready_(executor) {}
  ~ExchangeInbox();
  ExchangeInbox(const ExchangeInbox&) = delete;
  ExchangeInbox& operator=(const ExchangeInbox&) = delete;

  void Push(InboxItem item);
  // Comes before everything that waits; the first one counts.
  void Interrupt(absl::Status status);
  // The session whose events come here; cancelled when the inbox closes, at once when it has.
  void Adopt(std::shared_ptr<ChatSession> session);
  // Whether nobody waits any more.
  bool closed() const;

  // The next item; nothing when `patience` passes without one.
  boost::asio::awaitable<std::optional<InboxItem>> Pop(std::chrono::milliseconds patience);
  // One that is here already.
  std::optional<InboxItem> PopWaiting();

  // Drops what waits and what comes; cancels the session. The executor may go away afterwards.
  void Close();

 private:
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer ready_;
  mutable Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool waking_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> interrupt_ ABSL_GUARDED_BY(mutex_);
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<InboxItem> items_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<ChatSession> session_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vl2::gateway
