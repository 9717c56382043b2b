#include "runtime/base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace vl2 {
namespace {

TEST(ThreadPool, RunsEveryUnitOnce) {
  for (const int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    for (const int64_t num_units : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> counts(static_cast<size_t>(num_units));
      pool.ParallelFor(num_units, [&](int64_t unit, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, num_threads);
        ++counts[static_cast<size_t>(unit)];
      });
      for (const auto& count : counts) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, WorksAfterItsThreadsFellAsleep) {
  ThreadPool pool(4);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(round % 2 ? 2000 : 20));
    std::atomic<int64_t> sum = 0;
    pool.ParallelFor(100, [&](int64_t unit, int) { sum += unit; });
    EXPECT_EQ(sum, 4950);
  }
}

TEST(ThreadPool, ManyShortLoops) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum = 0;
  for (int round = 0; round < 5000; ++round) {
    pool.ParallelFor(4, [&](int64_t unit, int) { sum += unit; });
  }
  EXPECT_EQ(sum, 5000 * 6);
}

TEST(ThreadPool, ClampsTheNumberOfThreads) {
  EXPECT_EQ(ThreadPool(0).num_threads(), 1);
  EXPECT_EQ(ThreadPool(-3).num_threads(), 1);
}

}  // namespace
}  // namespace vl2
