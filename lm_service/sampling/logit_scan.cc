#include "lm_service/sampling/logit_scan.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "runtime/base/check.h"

namespace vl2 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Loops run over this many independent lanes, which compilers turn into vector instructions without
// being allowed to reorder anything.
constexpr size_t kLanes = 8;

// exp(x) for x <= 0: 2^n times the Taylor series of the rest, which is within ln(2)/2 of 0 and
// needs 7 terms. Below -87 (and for -inf) the result is 0: less than 2^-125.
inline float ExpNegative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // 9 bits: n * high is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const bool vanishes = !(x >= -87.0f);
  const float y = vanishes ? -87.0f : x;
  const float n = (y * kLog2E + kRound) - kRound;
  const float r = (y - n * kLn2High) - n * kLn2Low;
  float sum = 1.0f / 5040;
  sum = sum * r + 1.0f / 720;
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  const float result = sum * std::bit_cast<float>(exponent);
  return vanishes ? 0.0f : result;
}

// Maximum of one block; *nan counts NaN.
float BlockMax(const float* logits, size_t count, int32_t* nan) {
  float lanes[kLanes];
  int32_t nans[kLanes] = {};
  std::fill(lanes, lanes + kLanes, -kInfinity);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = logits[i + lane];
      lanes[lane] = x > lanes[lane] ? x : lanes[lane];
      nans[lane] |= x != x ? 1 : 0;
    }
  }
  for (; i < count; ++i) {
    lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
    nans[0] |= logits[i] != logits[i] ? 1 : 0;
  }
  for (const int32_t lane : nans) *nan |= lane;
  return *std::max_element(lanes, lanes + kLanes);
}

// The k-th largest value; reorders `values`.
float KthLargest(std::vector<float>& values, size_t k) {
  const auto kth = values.begin() + static_cast<ptrdiff_t>(k - 1);
  std::nth_element(values.begin(), kth, values.end(), std::greater<>());
  return *kth;
}

}  // namespace

void FindMaxima(std::span<const float> logits, LogitMaxima& maxima) {
  const size_t num_blocks = (logits.size() + kLogitBlock - 1) / kLogitBlock;
  maxima.blocks.resize(num_blocks);
  int32_t nan = 0;
  for (size_t block = 0; block < num_blocks; ++block) {
    const size_t first = block * kLogitBlock;
    maxima.blocks[block] =
        BlockMax(logits.data() + first, std::min(kLogitBlock, logits.size() - first), &nan);
  }
  maxima.max = *std::max_element(maxima.blocks.begin(), maxima.blocks.end());
  maxima.has_nan = nan != 0;
}

void FindAtLeast(std::span<const float> logits, const LogitMaxima& maxima, float threshold,
                 std::vector<int32_t>& ids) {
  ids.clear();
  for (size_t block = 0; block < maxima.blocks.size(); ++block) {
    if (maxima.blocks[block] < threshold) continue;
    const size_t end = std::min(logits.size(), (block + 1) * kLogitBlock);
    for (size_t i = block * kLogitBlock; i < end; ++i) {
      if (logits[i] >= threshold) ids.push_back(static_cast<int32_t>(i));
    }
  }
}

// The k-th largest block maximum is a lower bound of the k-th largest logit, and about k blocks
// reach it: only those are looked at a second time.
void FindTopK(std::span<const float> logits, const LogitMaxima& maxima, size_t k,
              std::vector<float>& values, std::vector<int32_t>& ids) {
  VL2_CHECK(k >= 1 && k <= logits.size()) << "k " << k << " of " << logits.size();
  float bound = -kInfinity;
  if (k <= maxima.blocks.size()) {
    values = maxima.blocks;
    bound = KthLargest(values, k);
  }
  FindAtLeast(logits, maxima, bound, ids);
  if (ids.size() == k) return;
  values.clear();
  for (const int32_t id : ids) values.push_back(logits[static_cast<size_t>(id)]);
  const float kth = KthLargest(values, k);
  std::erase_if(ids, [&](int32_t id) { return logits[static_cast<size_t>(id)] < kth; });
}

double ExpWeights(std::span<const float> logits, float max, float scale,
                  std::vector<float>& weights, std::vector<double>& block_sums) {
  weights.resize(logits.size());
  const size_t num_blocks = (logits.size() + kLogitBlock - 1) / kLogitBlock;
  block_sums.resize(num_blocks);
  double total = 0;
  for (size_t block = 0; block < num_blocks; ++block) {
    const size_t first = block * kLogitBlock;
    const size_t count = std::min(kLogitBlock, logits.size() - first);
    const float* in = logits.data() + first;
    float* out = weights.data() + first;
    for (size_t i = 0; i < count; ++i) out[i] = ExpNegative((in[i] - max) * scale);
    double lanes[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] += static_cast<double>(out[i + lane]);
    }
    for (; i < count; ++i) lanes[0] += static_cast<double>(out[i]);
    double sum = 0;
    for (const double lane : lanes) sum += lane;
    block_sums[block] = sum;
    total += sum;
  }
  return total;
}

}  // namespace vl2
