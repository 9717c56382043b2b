#include "runtime/base/thread_pool.h"

#include <algorithm>
#include <chrono>

namespace vl2 {
namespace {

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` differs from `old`: awake for kSpinNs, then asleep.
template <typename T>
void WaitForChange(const std::atomic<T>& value, T old) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::nanoseconds(ThreadPool::kSpinNs);
  for (int i = 0; value.load(std::memory_order_acquire) == old; ++i) {
    CpuRelax();
    if (i % 64 == 63 && Clock::now() > deadline) {
      value.wait(old, std::memory_order_acquire);
      return;
    }
  }
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) : num_threads_(std::clamp(num_threads, 1, kMaxThreads)) {
  for (int thread = 1; thread < num_threads_; ++thread) {
    workers_.emplace_back([this, thread] { WorkerLoop(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::TakeUnits(int thread) {
  for (;;) {
    const int64_t unit = next_unit_.fetch_add(1, std::memory_order_relaxed);
    if (unit >= num_units_) return;
    call_(body_, unit, thread);
  }
}

void ThreadPool::Run(int64_t num_units, const void* body, Call call) {
  body_ = body;
  call_ = call;
  num_units_ = num_units;
  next_unit_.store(0, std::memory_order_relaxed);
  num_busy_.store(num_threads_ - 1, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();

  TakeUnits(0);
  for (int busy; (busy = num_busy_.load(std::memory_order_acquire)) != 0;) {
    WaitForChange(num_busy_, busy);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  uint32_t seen = 0;
  for (;;) {
    WaitForChange(epoch_, seen);
    const uint32_t epoch = epoch_.load(std::memory_order_acquire);
    if (epoch == seen) continue;  // a wake-up without news
    seen = epoch;
    if (stop_.load(std::memory_order_acquire)) return;
    TakeUnits(thread);
    if (num_busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) num_busy_.notify_one();
  }
}

}  // namespace vl2
