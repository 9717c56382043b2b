// Passes over the logits of a whole vocabulary (129,280 words in the published models): maxima of
// blocks, the k largest without sorting, and sums of exponentials.
//
// Summation order depends on the number of words only. Exponentials are float (relative error below
// 3e-7), sums are double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vl2 {

inline constexpr size_t kLogitBlock = 64;

struct LogitMaxima {
  std::vector<float> blocks;  // of each kLogitBlock logits; the last block may be shorter
  float max = 0;
  bool has_nan = false;
};

// REQUIRES: logits is not empty. A block of NaN only has maximum -inf.
void FindMaxima(std::span<const float> logits, LogitMaxima& maxima);

// Ids of all logits >= the k-th largest one, ascending: k of them, more when there are ties with
// the k-th. `values` is working memory. REQUIRES: 1 <= k <= logits.size(), no NaN, `maxima` of
// `logits`.
void FindTopK(std::span<const float> logits, const LogitMaxima& maxima, size_t k,
              std::vector<float>& values, std::vector<int32_t>& ids);

// Ids of all logits >= threshold, ascending.
void FindAtLeast(std::span<const float> logits, const LogitMaxima& maxima, float threshold,
                 std::vector<int32_t>& ids);

// weights[i] = exp((logits[i] - max) * scale); block_sums[b] = sum over block b; returns the sum of
// those. REQUIRES: max >= all logits, scale > 0.
double ExpWeights(std::span<const float> logits, float max, float scale,
                  std::vector<float>& weights, std::vector<double>& block_sums);

}  // namespace vl2
