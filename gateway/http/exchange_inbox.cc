#include "gateway/http/exchange_inbox.h"

#include <utility>

#include "boost/asio/post.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "runtime/base/error_details.h"
#include "runtime/base/status.h"

namespace vl2::gateway {

namespace asio = boost::asio;

ExchangeInbox::~ExchangeInbox() { Close(); }

void ExchangeInbox::Wake() {
  if (waking_) return;
  waking_ = true;
  asio::post(executor_, [self = shared_from_this()] {
    MutexLock lock(&self->mutex_);
    self->waking_ = false;
    if (!self->closed_) self->ready_.cancel();
  });
}

void ExchangeInbox::Push(InboxItem item) {
  MutexLock lock(&mutex_);
  if (closed_ || interrupted_) return;
  if (items_.size() >= kMaxWaiting) {
    interrupted_ = true;
    interrupt_ =
        WithReason(absl::ResourceExhaustedError(
                       Cat("the client reads too slowly: ", kMaxWaiting, " events wait for it")),
                   "client_too_slow");
  } else {
    items_.push_back(std::move(item));
  }
  Wake();
}

void ExchangeInbox::Interrupt(absl::Status status) {
  MutexLock lock(&mutex_);
  if (closed_ || interrupted_) return;
  interrupted_ = true;
  interrupt_ = std::move(status);
  Wake();
}

void ExchangeInbox::Adopt(std::shared_ptr<ChatSession> session) {
  {
    MutexLock lock(&mutex_);
    if (!closed_) {
      session_ = std::move(session);
      return;
    }
  }
  session->Cancel();
}

bool ExchangeInbox::closed() const {
  MutexLock lock(&mutex_);
  return closed_;
}

std::optional<InboxItem> ExchangeInbox::PopWaiting() {
  MutexLock lock(&mutex_);
  if (interrupt_) {
    Interrupted interrupted{*std::move(interrupt_)};
    interrupt_.reset();
    items_.clear();
    return interrupted;
  }
  if (items_.empty()) return std::nullopt;
  InboxItem item = std::move(items_.front());
  items_.pop_front();
  return item;
}

asio::awaitable<std::optional<InboxItem>> ExchangeInbox::Pop(std::chrono::milliseconds patience) {
  std::optional<InboxItem> item = PopWaiting();
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!item && std::chrono::steady_clock::now() < until) {
    ready_.expires_at(until);
    boost::system::error_code ignored;
    co_await ready_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    item = PopWaiting();
  }
  co_return item;
}

void ExchangeInbox::Close() {
  std::shared_ptr<ChatSession> session;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    items_.clear();
    session = std::move(session_);
  }
  if (session != nullptr) session->Cancel();
}

}  // namespace vl2::gateway
