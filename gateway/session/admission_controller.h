// AdmissionController: which chat requests the gateway holds at a time, and who makes room.
//
// A request is reading (its body is still on the way), waiting (taken; nothing of an answer has
// been sent), or answering. Bytes count from the first one on, a slot from waiting on. Reading
// takes no slot, so that slow senders cannot keep others out.
//
// Limits bind when they are reached, and only then:
// - bytes: of the bodies that are being read, the one with the lowest rate is ended, be it the one
//   that asks. Nothing ever waits for memory that another half-read body holds.
// - bytes and slots: the newest waiting request of the client that holds the most is ended, if that
//   client still holds more than the asking one afterwards. So one client alone may use everything,
//   and two that compete come to equal parts. Tenants are compared before clients (holdings.h).
// - a waiting request of a lower priority is ended whatever the parts; none of a higher one is.
// What is answering is never ended to make room.
//
// Owns: nothing but counts. Threading: thread-safe. A ticket belongs to one owner at a time; `end`
// callbacks run outside the lock, on the thread that asked for room, and may come after the ticket
// has gone; they must be short. Errors: RESOURCE_EXHAUSTED with value, limit
// and the time after which there may be room: what is in flight, by how much ends per second.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "runtime/base/holdings.h"
#include "runtime/base/mutex.h"
#include "runtime/base/throughput.h"

namespace vl2::gateway {

// What requests hear that are ended because this server is about to stop.
absl::Status ShuttingDown();

class AdmissionController {
 public:
  using Clock = std::chrono::steady_clock;
  // Told why the request must end.
  using EndRequest = std::function<void(const absl::Status&)>;
  class Ticket;

  // A body younger than this has no rate yet and is not ended for another's sake.
  static constexpr std::chrono::milliseconds kMinRateAge{1000};

  AdmissionController(int64_t max_requests, int64_t max_bytes)
      : max_requests_(max_requests), max_bytes_(max_bytes) {}
  AdmissionController(const AdmissionController&) = delete;
  AdmissionController& operator=(const AdmissionController&) = delete;

  // A request whose body begins to arrive now. Outlived by this.
  std::unique_ptr<Ticket> Begin(std::string client, EndRequest end, Clock::time_point now,
                                int priority = 0);

  // Whether a request of this client would find a slot now: refuses early what could only be
  // refused later. OK promises nothing.
  absl::Status CheckRoom(const std::string& client, int priority = 0);

  // Tells all requests, answering ones too, to end.
  void EndAll(const absl::Status& status);

  int64_t max_requests() const { return max_requests_; }
  int64_t max_bytes() const { return max_bytes_; }
  int64_t num_reading() const;
  int64_t num_in_flight() const;  // waiting and answering
  int64_t num_bytes() const;
  int64_t num_ended() const;  // ended to make room, ever

 private:
  enum class State { kReading, kWaiting, kAnswering };
  struct Request {
    std::string client;
    int priority = 0;
    EndRequest end;
    Clock::time_point began;
    State state = State::kReading;
    int64_t bytes = 0;
    bool ended = false;  // told to end: holds nothing any more
  };
  using Requests = std::list<Request>;  // oldest first
  // With the time after which what is in flight would be through, at the speed of now.
  absl::Status Full(const std::string& message) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status NoSlot() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MadeRoom(std::string_view what) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is to be called once the lock is gone.
  using Calls = std::vector<std::function<void()>>;

  absl::Status Grow(Requests::iterator request, int64_t bytes, Clock::time_point now);
  absl::Status Enter(Requests::iterator request);
  void SetAnswering(Requests::iterator request);
  void Remove(Requests::iterator request);

  void Count(const Request& request, int sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(Requests::iterator request, const absl::Status& status, Calls& calls)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The body with the lowest rate, end() when none is being read. `asking` is old enough always.
  Requests::iterator SlowestBody(Requests::iterator asking, Clock::time_point now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The waiting request that gives way: the newest of the lowest priority, if that is lower than
  // the asking one's; else the newest of the client that holds most, if that still holds no less
  // than the asking one with `more`. `part`: what ending it frees. Else end().
  Requests::iterator Victim(const Holdings& holdings, const std::string& client, int priority,
                            int64_t more, int64_t (*part)(const Request&))
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Requests::iterator VictimForSlot(const std::string& client, int priority)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_requests_;
  const int64_t max_bytes_;
  mutable Mutex mutex_;
  Requests requests_ ABSL_GUARDED_BY(mutex_);
  Holdings held_requests_ ABSL_GUARDED_BY(mutex_);  // in flight
  Holdings held_bytes_ ABSL_GUARDED_BY(mutex_);
  int64_t num_reading_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_ended_ ABSL_GUARDED_BY(mutex_) = 0;
  Throughput throughput_ ABSL_GUARDED_BY(mutex_){Clock::now()};  // requests that were answered
};

// What one request holds; given back when it goes.
class AdmissionController::Ticket {
 public:
  ~Ticket() { controller_->Remove(request_); }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // Holds so many bytes more. One request alone may go beyond the limit: what is allowed is never
  // starved.
  absl::Status Grow(int64_t bytes, Clock::time_point now) {
    return controller_->Grow(request_, bytes, now);
  }
  // The body is whole: takes a slot.
  absl::Status Enter() { return controller_->Enter(request_); }
  // From now on it is not ended to make room.
  void SetAnswering() { controller_->SetAnswering(request_); }

 private:
  friend class AdmissionController;
  Ticket(AdmissionController* controller, Requests::iterator request)
      : controller_(controller), request_(request) {}
  AdmissionController* const controller_;
  const Requests::iterator request_;
};

}  // namespace vl2::gateway
