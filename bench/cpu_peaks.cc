#include "bench/cpu_peaks.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <vector>

#include "runtime/ops/cpu/cpu_target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/cpu_peaks.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vl2 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// `steps` times ten independent multiply-adds of one vector; returns their flops. The number of
// chains hides the latency of every CPU of interest and fits 16 registers. Each begins with a value
// of its own: the compiler would merge equal ones into one chain.
double MultiplyAdds(int64_t steps, float* sink) {
  const hn::CappedTag<float, 16> d;
  using V = hn::Vec<decltype(d)>;
  const V factor = hn::Set(d, 0.999f);
  const V addend = hn::Set(d, 1e-3f);
  V s0 = hn::Set(d, 0.1f), s1 = hn::Set(d, 0.2f), s2 = hn::Set(d, 0.3f), s3 = hn::Set(d, 0.4f);
  V s4 = hn::Set(d, 0.5f), s5 = hn::Set(d, 0.6f), s6 = hn::Set(d, 0.7f), s7 = hn::Set(d, 0.8f);
  V s8 = hn::Set(d, 0.9f), s9 = hn::Set(d, 1.0f);
  for (int64_t i = 0; i < steps; ++i) {
    s0 = hn::MulAdd(s0, factor, addend);
    s1 = hn::MulAdd(s1, factor, addend);
    s2 = hn::MulAdd(s2, factor, addend);
    s3 = hn::MulAdd(s3, factor, addend);
    s4 = hn::MulAdd(s4, factor, addend);
    s5 = hn::MulAdd(s5, factor, addend);
    s6 = hn::MulAdd(s6, factor, addend);
    s7 = hn::MulAdd(s7, factor, addend);
    s8 = hn::MulAdd(s8, factor, addend);
    s9 = hn::MulAdd(s9, factor, addend);
  }
  const V sum = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)),
                        hn::Add(hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)), hn::Add(s8, s9)));
  *sink = hn::GetLane(hn::SumOfLanes(d, sum));
  return 20.0 * static_cast<double>(steps) * static_cast<double>(hn::Lanes(d));
}

// Reads `count` floats in eight streams side by side: one alone does not get all of the bandwidth,
// because prefetchers follow a stream only so far.
void ReadAll(const float* from, int64_t count, float* sink) {
  const hn::CappedTag<float, 16> d;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t part = count / 8;
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t i = 0; i + lanes <= part; i += lanes) {
    const float* at = from + i;
    s0 = hn::Max(s0, hn::Max(hn::Load(d, at), hn::Load(d, at + part)));
    s1 = hn::Max(s1, hn::Max(hn::Load(d, at + 2 * part), hn::Load(d, at + 3 * part)));
    s2 = hn::Max(s2, hn::Max(hn::Load(d, at + 4 * part), hn::Load(d, at + 5 * part)));
    s3 = hn::Max(s3, hn::Max(hn::Load(d, at + 6 * part), hn::Load(d, at + 7 * part)));
  }
  *sink = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(s0, s1), hn::Max(s2, s3))));
}

}  // namespace HWY_NAMESPACE
}  // namespace vl2
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vl2 {

HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(ReadAll);

namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

}  // namespace

CpuPeaks::CpuPeaks(ThreadPool* pool)
    : pool_(pool),
      model_(CpuModel()),
      memory_(static_cast<size_t>(kReadFloats) * sizeof(float)),
      sinks_(static_cast<size_t>(pool->num_threads()) * 16) {
  std::memset(memory_.data(), 0, memory_.size());
}

double CpuPeaks::MeasureFlops() {
  // Many small units, so that a thread that starts late takes fewer; together long enough that
  // processors which clock wide vectors down after a millisecond have done so, as they do in the
  // operations.
  constexpr int64_t kSteps = 10'000;
  const int64_t num_units = 1600 * pool_->num_threads();
  const auto multiply_adds = HWY_DYNAMIC_DISPATCH(MultiplyAdds);
  std::vector<double> flops(static_cast<size_t>(num_units));
  const Clock::time_point start = Clock::now();
  pool_->ParallelFor(num_units, [&](int64_t unit, int thread) {
    flops[static_cast<size_t>(unit)] =
        multiply_adds(kSteps, &sinks_[static_cast<size_t>(thread) * 16]);
  });
  const double seconds = SecondsSince(start);
  double total = 0;
  for (const double value : flops) total += value;
  return total / seconds;
}

double CpuPeaks::MeasureReadBytes() {
  constexpr int64_t kChunkFloats = 256 << 10;
  constexpr int64_t kChunks = kReadFloats / kChunkFloats;
  const auto read_all = HWY_DYNAMIC_DISPATCH(ReadAll);
  const auto* floats = reinterpret_cast<const float*>(memory_.data());
  const Clock::time_point start = Clock::now();
  pool_->ParallelFor(kChunks, [&](int64_t chunk, int thread) {
    read_all(floats + chunk * kChunkFloats, kChunkFloats,
             &sinks_[static_cast<size_t>(thread) * 16]);
  });
  return static_cast<double>(memory_.size()) / SecondsSince(start);
}

void CpuPeaks::Measure(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    flops_.push_back(MeasureFlops());
    read_bytes_.push_back(MeasureReadBytes());
  }
}

}  // namespace vl2
#endif  // HWY_ONCE
