// SamplingParams: how the next token is chosen. Defaults are those of the published inference
// script (its top_k is the library's hidden default).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace vl2 {

struct SamplingParams {
  static constexpr double kMaxTemperature = 10.0;
  // Below it the likeliest token is taken, as with 0.
  static constexpr double kMinTemperature = 1e-4;
  static constexpr double kMaxRepetitionPenalty = 10.0;
  static constexpr double kMaxPenalty = 2.0;  // presence and frequency, either sign
  static constexpr double kMaxBias = 100.0;   // either sign
  static constexpr int kMaxTopLogprobs = 20;
  static constexpr size_t kMaxBiases = 1024;

  double temperature = 0.4;         // [0, kMaxTemperature]; 0: the likeliest token
  int64_t top_k = 50;               // >= 0; 0: off
  double top_p = 0.9;               // [0, 1]; 1: off, 0: the likeliest token
  double min_p = 0.0;               // [0, 1]; 0: off. Relative to the likeliest token
  double repetition_penalty = 1.1;  // (0, kMaxRepetitionPenalty]; 1: off. Prompt and answer
  double presence_penalty = 0.0;    // subtracted once from tokens of the answer
  double frequency_penalty = 0.0;   // subtracted once for each time they occur in it
  std::vector<std::pair<int32_t, double>> logit_bias;  // token id, added value; distinct ids
  uint64_t seed = 0;

  bool logprobs = false;  // report the log-probability of the chosen token ...
  int top_logprobs = 0;   // ... and of the likeliest [0, kMaxTopLogprobs] ones

  // INVALID_ARGUMENT naming field, value and range.
  absl::Status Validate(int64_t vocab) const;
};

}  // namespace vl2
