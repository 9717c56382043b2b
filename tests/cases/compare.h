// Matchers of numeric results: NaN masks equal, then the error, with the worst index printed.
#pragma once

#include <cmath>
#include <cstring>
#include <span>

#include "gtest/gtest.h"

namespace vl2 {

// |actual - expected| <= absolute + relative·|expected| everywhere.
inline ::testing::AssertionResult Close(std::span<const float> actual,
                                        std::span<const float> expected, double absolute,
                                        double relative) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " values, not " << expected.size();
  }
  double worst = 0;
  size_t worst_index = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(actual[i]) != std::isnan(expected[i])) {
      return ::testing::AssertionFailure()
             << "[" << i << "] is " << actual[i] << ", expected " << expected[i];
    }
    if (std::isnan(actual[i]) || actual[i] == expected[i]) continue;
    const double error = std::fabs(static_cast<double>(actual[i]) - expected[i]) /
                         (absolute + relative * std::fabs(expected[i]));
    if (!(error <= worst)) {
      worst = error;
      worst_index = i;
    }
  }
  if (worst <= 1) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "[" << worst_index << "] is " << actual[worst_index] << ", expected "
         << expected[worst_index] << ": " << worst << " times the tolerance";
}

// The same bits everywhere.
inline ::testing::AssertionResult SameBits(std::span<const float> actual,
                                           std::span<const float> expected) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " values, not " << expected.size();
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure()
             << "[" << i << "] is " << actual[i] << ", not the bits of " << expected[i];
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace vl2
