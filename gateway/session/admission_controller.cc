#include "gateway/session/admission_controller.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error_details.h"
#include "runtime/base/status.h"

namespace vl2::gateway {

absl::Status ShuttingDown() {
  return WithReason(absl::UnavailableError("the server is shutting down"), "shutting_down");
}

std::unique_ptr<AdmissionController::Ticket> AdmissionController::Begin(std::string client,
                                                                        EndRequest end,
                                                                        Clock::time_point now,
                                                                        int priority) {
  MutexLock lock(&mutex_);
  requests_.push_back(
      {.client = std::move(client), .priority = priority, .end = std::move(end), .began = now});
  ++num_reading_;
  return std::unique_ptr<Ticket>(new Ticket(this, std::prev(requests_.end())));
}

absl::Status AdmissionController::Full(const std::string& message) const {
  const double speed = throughput_.PerSecond(Clock::now());
  return WithRetryAfter(absl::ResourceExhaustedError(message),
                        RetryAfterSeconds(static_cast<double>(num_in_flight_), speed));
}

absl::Status AdmissionController::NoSlot() const {
  return Full(Cat("the server is at its limit of ", max_requests_, " requests in flight"));
}

absl::Status AdmissionController::MadeRoom(std::string_view what) const {
  return WithReason(
      Full(Cat("the server is full, and this ", what, " made room for another client's")),
      "made_room");
}

absl::Status AdmissionController::CheckRoom(const std::string& client, int priority) {
  MutexLock lock(&mutex_);
  if (num_in_flight_ < max_requests_) return absl::OkStatus();
  return VictimForSlot(client, priority) == requests_.end() ? NoSlot() : absl::OkStatus();
}

void AdmissionController::EndAll(const absl::Status& status) {
  Calls calls;
  {
    MutexLock lock(&mutex_);
    for (Request& request : requests_) {
      calls.push_back([end = request.end, status] { end(status); });
    }
  }
  for (const auto& call : calls) call();
}

void AdmissionController::Count(const Request& request, int sign) {
  const int64_t slots = request.state == State::kReading ? 0 : sign;
  num_reading_ += sign - slots;
  num_in_flight_ += slots;
  num_bytes_ += sign * request.bytes;
  held_requests_.Add(request.client, slots);
  held_bytes_.Add(request.client, sign * request.bytes);
}

void AdmissionController::Remove(Requests::iterator request) {
  MutexLock lock(&mutex_);
  if (!request->ended) {
    if (request->state != State::kReading) throughput_.Add(1, Clock::now());
    Count(*request, -1);
  }
  requests_.erase(request);
}

void AdmissionController::End(Requests::iterator request, const absl::Status& status,
                              Calls& calls) {
  Count(*request, -1);
  request->ended = true;
  ++num_ended_;
  calls.push_back([end = request->end, status] { end(status); });
}

AdmissionController::Requests::iterator AdmissionController::SlowestBody(Requests::iterator asking,
                                                                         Clock::time_point now) {
  auto slowest = requests_.end();
  double lowest = 0;
  for (auto request = requests_.begin(); request != requests_.end(); ++request) {
    if (request->state != State::kReading || request->ended) continue;
    const auto age = now - request->began;
    if (age < kMinRateAge && request != asking) continue;
    const double seconds =
        std::chrono::duration<double>(std::max<Clock::duration>(age, kMinRateAge)).count();
    const double rate = static_cast<double>(request->bytes) / seconds;
    if (slowest != requests_.end() && rate >= lowest) continue;
    slowest = request;
    lowest = rate;
  }
  return slowest;
}

AdmissionController::Requests::iterator AdmissionController::Victim(
    const Holdings& holdings, const std::string& client, int priority, int64_t more,
    int64_t (*part)(const Request&)) {
  auto victim = requests_.end();
  for (auto request = requests_.begin(); request != requests_.end(); ++request) {
    if (request->state != State::kWaiting || request->ended || request->priority >= priority) {
      continue;
    }
    if (victim == requests_.end() || request->priority <= victim->priority) victim = request;
  }
  if (victim != requests_.end()) return victim;
  const auto loser = holdings.Loser(client, [&](const std::string& other, int64_t its,
                                                int64_t own) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    victim = requests_.end();
    for (auto request = requests_.begin(); request != requests_.end(); ++request) {
      if (request->state == State::kWaiting && !request->ended && request->client == other &&
          request->priority == priority) {
        victim = request;
      }
    }
    return victim != requests_.end() && its > own + more && its - part(*victim) >= own + more;
  });
  return loser ? victim : requests_.end();
}

AdmissionController::Requests::iterator AdmissionController::VictimForSlot(
    const std::string& client, int priority) {
  return Victim(held_requests_, client, priority, 1, [](const Request&) { return int64_t{1}; });
}

absl::Status AdmissionController::Grow(Requests::iterator request, int64_t bytes,
                                       Clock::time_point now) {
  Calls calls;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (request->ended) return MadeRoom("request");
    // Counted first, so that it is compared with what it wants to hold.
    num_bytes_ += bytes;
    request->bytes += bytes;
    held_bytes_.Add(request->client, bytes);
    while (num_bytes_ > max_bytes_ && num_bytes_ != request->bytes) {
      auto other = SlowestBody(request, now);
      if (other == request || other == requests_.end()) {
        other = Victim(held_bytes_, request->client, request->priority, 0,
                       [](const Request& each) { return each.bytes; });
      }
      if (other == requests_.end()) {
        status = Full(Cat("the requests in flight hold ", num_bytes_ - bytes,
                          " bytes, the limit is ", max_bytes_));
        Count(*request, -1);
        request->ended = true;
        break;
      }
      End(other, MadeRoom(other->state == State::kReading ? "slow body" : "request"), calls);
    }
  }
  for (const auto& call : calls) call();
  return status;
}

absl::Status AdmissionController::Enter(Requests::iterator request) {
  Calls calls;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (request->ended) return MadeRoom("request");
    if (num_in_flight_ >= max_requests_) {
      const auto other = VictimForSlot(request->client, request->priority);
      if (other != requests_.end()) End(other, MadeRoom("request"), calls);
    }
    if (num_in_flight_ >= max_requests_) {
      status = NoSlot();
      Count(*request, -1);
      request->ended = true;
    } else {
      Count(*request, -1);
      request->state = State::kWaiting;
      Count(*request, 1);
    }
  }
  for (const auto& call : calls) call();
  return status;
}

void AdmissionController::SetAnswering(Requests::iterator request) {
  MutexLock lock(&mutex_);
  if (!request->ended) request->state = State::kAnswering;
}

int64_t AdmissionController::num_reading() const {
  MutexLock lock(&mutex_);
  return num_reading_;
}

int64_t AdmissionController::num_in_flight() const {
  MutexLock lock(&mutex_);
  return num_in_flight_;
}

int64_t AdmissionController::num_bytes() const {
  MutexLock lock(&mutex_);
  return num_bytes_;
}

int64_t AdmissionController::num_ended() const {
  MutexLock lock(&mutex_);
  return num_ended_;
}

}  // namespace vl2::gateway
