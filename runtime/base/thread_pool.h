// ThreadPool: runs one parallel loop at a time over small work units that threads take dynamically.
//
// The calling thread works too, so a pool of one thread has no workers. Workers that have nothing
// to do spin briefly (kSpinNs), then sleep: a decode step is a few hundred loops with
// microseconds between them, while a pool that spins for long loses several times its speed as soon
// as another process shares a core.
//
// Owns: its worker threads, joined by the destructor.
// Threading: ParallelFor is called by one thread at a time (the engine thread); it must not nest.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace vl2 {

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 256;
  // About the time a worker waits awake for the next loop.
  static constexpr int64_t kSpinNs = 30'000;

  // `num_threads` counts the caller; 1..kMaxThreads, anything else is clamped.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(unit, thread) once for every unit in [0, num_units); thread is in [0, num_threads())
  // and identifies scratch space. Returns when all calls have. Which thread runs which unit varies
  // from run to run: a result must not depend on it.
  template <typename Body>
  void ParallelFor(int64_t num_units, const Body& body) {
    if (num_units <= 0) return;
    if (num_units == 1 || num_threads_ == 1) {
      for (int64_t unit = 0; unit < num_units; ++unit) body(unit, 0);
      return;
    }
    Run(num_units, &body, [](const void* opaque, int64_t unit, int thread) {
      (*static_cast<const Body*>(opaque))(unit, thread);
    });
  }

 private:
  using Call = void (*)(const void* body, int64_t unit, int thread);

  void Run(int64_t num_units, const void* body, Call call);
  void WorkerLoop(int thread);
  void TakeUnits(int thread);

  const int num_threads_;
  std::vector<std::thread> workers_;

  // The loop in progress; written by Run before epoch_ announces it.
  const void* body_ = nullptr;
  Call call_ = nullptr;
  int64_t num_units_ = 0;
  alignas(64) std::atomic<int64_t> next_unit_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};  // odd bit unused; one step per loop
  alignas(64) std::atomic<int> num_busy_{0};    // workers that have not finished this loop
  std::atomic<bool> stop_{false};
};

}  // namespace vl2
