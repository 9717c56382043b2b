// SideWork: one thread for small jobs that must not hold up gRPC's threads, such as reading a
// picture's header. Clients take turns; the jobs of one client run in their order.
//
// Owns: the thread and the jobs. Threading: thread-safe.
// Limits: none on the queue: each call has one job at a time, and calls are limited.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "runtime/base/mutex.h"
#include "vision_service/engine/turn_order.h"

namespace vl2 {

class SideWork {
 public:
  SideWork();
  ~SideWork() { Stop(); }

  // Runs `job` soon, or never when stopping. It must not throw, nor wait for another one.
  void Post(const std::string& client, std::function<void()> job);
  int64_t num_waiting() const;
  // Drops what has not begun, and joins.
  void Stop();

 private:
  struct Job {
    std::string client;
    std::function<void()> run;
  };
  void Run();
  Job TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);  // oldest first
  TurnOrder turns_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace vl2
