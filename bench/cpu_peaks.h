// CpuPeaks: what this machine can do at most, measured: fused multiply-adds and memory reading, by
// all threads of a pool at once. Benchmarks print their results as parts of these.
//
// Measured a little at a time between the cases of a benchmark, because a shared machine changes
// its speed; the medians stand for the time of the benchmark, the best for the idle machine.
//
// Owns: 256 MiB to read. Threading: as the pool.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/thread_pool.h"

namespace vl2 {

class CpuPeaks {
 public:
  explicit CpuPeaks(ThreadPool* pool);

  // Adds some measurements, about 50 ms each.
  void Measure(int rounds);

  // Float32, a multiply-add counts as two.
  double median_flops() const { return Median(flops_); }
  double best_flops() const { return *std::max_element(flops_.begin(), flops_.end()); }
  // Per second, from memory.
  double median_read_bytes() const { return Median(read_bytes_); }
  double best_read_bytes() const {
    return *std::max_element(read_bytes_.begin(), read_bytes_.end());
  }
  const std::string& cpu_model() const { return model_; }

  // The last `count` measurements alone.
  double recent_flops(int count) const { return Median(Last(flops_, count)); }
  double recent_read_bytes(int count) const { return Median(Last(read_bytes_, count)); }

 private:
  static constexpr int64_t kReadFloats = 64 << 20;

  static double Median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }
  static std::vector<double> Last(const std::vector<double>& values, int count) {
    return {values.end() - count, values.end()};
  }
  double MeasureFlops();
  double MeasureReadBytes();

  ThreadPool* const pool_;
  const std::string model_;
  AlignedBuffer memory_;
  std::vector<float> sinks_;  // keeps results in use; a cache line a thread
  std::vector<double> flops_;
  std::vector<double> read_bytes_;
};

}  // namespace vl2
