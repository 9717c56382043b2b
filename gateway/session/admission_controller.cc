#include "gateway/session/admission_controller.h"

#include <algorithm>
#include <utility>

#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

absl::Status MadeRoom(std::string_view what) {
  return absl::ResourceExhaustedError(
      Cat("the server is full, and this ", what, " made room for another client's; try again"));
}

}  // namespace

std::unique_ptr<AdmissionController::Ticket> AdmissionController::Begin(std::string client,
                                                                        EndRequest end,
                                                                        Clock::time_point now) {
  MutexLock lock(&mutex_);
  requests_.push_back({.client = std::move(client), .end = std::move(end), .began = now});
  ++num_reading_;
  return std::unique_ptr<Ticket>(new Ticket(this, std::prev(requests_.end())));
}

absl::Status AdmissionController::NoSlot() const {
  return absl::ResourceExhaustedError(
      Cat("the server is at its limit of ", max_requests_, " requests in flight; try again"));
}

absl::Status AdmissionController::CheckRoom(const std::string& client) {
  MutexLock lock(&mutex_);
  if (num_in_flight_ < max_requests_) return absl::OkStatus();
  const auto held = held_.find(client);
  const int64_t own = 1 + (held == held_.end() ? 0 : held->second.requests);
  return NewestOfGreediest(&Held::requests, own) == requests_.end() ? NoSlot() : absl::OkStatus();
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
  Held& held = held_[request.client];
  held.requests += slots;
  held.bytes += sign * request.bytes;
  if (held.requests == 0 && held.bytes == 0) held_.erase(request.client);
}

void AdmissionController::Remove(Requests::iterator request) {
  MutexLock lock(&mutex_);
  if (!request->ended) Count(*request, -1);
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

AdmissionController::Requests::iterator AdmissionController::NewestOfGreediest(int64_t Held::*what,
                                                                               int64_t own) {
  const std::string* greediest = nullptr;
  int64_t most = own;
  for (const auto& [client, held] : held_) {
    if (held.*what > most) {
      most = held.*what;
      greediest = &client;
    }
  }
  if (greediest == nullptr) return requests_.end();
  for (auto request = requests_.end(); request != requests_.begin();) {
    --request;
    if (request->state != State::kWaiting || request->ended || request->client != *greediest) {
      continue;
    }
    const int64_t part = what == &Held::bytes ? request->bytes : 1;
    return most - part >= own ? request : requests_.end();
  }
  return requests_.end();
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
    held_[request->client].bytes += bytes;
    while (num_bytes_ > max_bytes_ && num_bytes_ != request->bytes) {
      auto other = SlowestBody(request, now);
      if (other == request || other == requests_.end()) {
        other = NewestOfGreediest(&Held::bytes, held_[request->client].bytes);
      }
      if (other == requests_.end()) {
        status =
            absl::ResourceExhaustedError(Cat("the requests in flight hold ", num_bytes_ - bytes,
                                             " bytes, the limit is ", max_bytes_, "; try again"));
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
      // As it will be with this one.
      const int64_t own = held_[request->client].requests + 1;
      const auto other = NewestOfGreediest(&Held::requests, own);
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
