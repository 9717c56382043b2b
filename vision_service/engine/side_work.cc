#include "vision_service/engine/side_work.h"

#include <algorithm>
#include <utility>

namespace vl2 {

SideWork::SideWork() : thread_([this] { Run(); }) {}

void SideWork::Post(const std::string& client, std::function<void()> job) {
  MutexLock lock(&mutex_);
  if (stopping_) return;
  jobs_.push_back({client, std::move(job)});
  changed_.NotifyOne();
}

int64_t SideWork::num_waiting() const {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(jobs_.size());
}

void SideWork::Stop() {
  std::deque<Job> dropped;  // destroyed outside of the lock: a job may own the last of something
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    dropped.swap(jobs_);
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

SideWork::Job SideWork::TakeNext() {
  const auto next =
      std::min_element(jobs_.begin(), jobs_.end(),
                       [this](const Job& a, const Job& b) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                         return turns_.LastTurn(a.client) < turns_.LastTurn(b.client);
                       });
  Job job = std::move(*next);
  jobs_.erase(next);
  turns_.Serve(job.client);
  const auto none = [this](const auto& matches) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return std::none_of(jobs_.begin(), jobs_.end(), matches);
  };
  if (none([&](const Job& other) { return other.client == job.client; })) {
    const std::string tenant = TenantOf(job.client);
    turns_.Forget(job.client,
                  none([&](const Job& other) { return TenantOf(other.client) == tenant; }));
  }
  return job;
}

void SideWork::Run() {
  for (;;) {
    Job job;
    {
      MutexLock lock(&mutex_);
      while (jobs_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (stopping_) return;
      job = TakeNext();
    }
    job.run();
  }
}

}  // namespace vl2
