// Sampler: chooses the next token of one sequence from the logits of its last position.
//
// In order: logit bias; repetition penalty (once per distinct token of prompt and answer: positive
// logits divided, negative multiplied); presence and frequency penalty (tokens of the answer);
// temperature; top-k (ties with the k-th stay); top-p (the smallest set from the top whose
// probability reaches p; of equals the lower ids); min-p; softmax over what is left.
// Temperature 0 takes the largest logit after the penalties, of equals the lowest id.
//
// Source: the logits processors of transformers 4.38 for what the published script uses; presence
// and frequency penalty as the OpenAI API defines them.
//
// The choice is a function of logits, parameters, history, sample and position alone. Arithmetic:
// penalties in float, probabilities and sums in double.
//
// Owns: working memory, allocated while warming up. Threading: one thread at a time.
// Errors: INTERNAL when the logits hold NaN or +infinity or nothing but -infinity (-infinity means
// never); INVALID_ARGUMENT for a history that names tokens outside the vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lm_service/sampling/logit_scan.h"
#include "lm_service/sampling/sampling_params.h"
#include "lm_service/sampling/token_history.h"

namespace vl2 {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm, of the raw logits
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;                       // with SamplingParams::logprobs
  std::vector<TokenLogprob> top_logprobs;  // likeliest first, of equals the lower id
};

class Sampler {
 public:
  // `logits` has one value per word of the vocabulary; changed during the call, as before after it.
  // `position` is that of the new token in its sequence. REQUIRES: params.Validate(logits.size()).
  absl::StatusOr<SampledToken> Sample(std::span<float> logits, const SamplingParams& params,
                                      const TokenHistory& history, uint32_t sample,
                                      uint64_t position);

  struct Candidate {
    int32_t id = 0;
    float logit = 0;  // after penalties and temperature
    double probability = 0;
  };
  // What Sample draws from: all tokens that may be chosen, likeliest first. For tests and tools.
  absl::StatusOr<std::vector<Candidate>> Distribution(std::span<float> logits,
                                                      const SamplingParams& params,
                                                      const TokenHistory& history);

 private:
  struct Weighted {
    int32_t id;
    float logit;    // after penalties
    double weight;  // exp((logit - largest logit) / temperature)
  };

  absl::Status Adjust(std::span<float> logits, const SamplingParams& params,
                      const TokenHistory& history);
  void Restore(std::span<float> logits);

  // Fills kept_ and returns true, or leaves all words in play: weights_ and block_sums_.
  bool Select(std::span<const float> logits, const SamplingParams& params);
  void SelectTopP(std::span<const float> logits, const SamplingParams& params);
  void Collect(std::span<const float> logits, double temperature);
  void KeepTopP(double temperature, double limit);
  void CutSorted(size_t first, double above, double limit);
  static bool IsLikelier(const Weighted& a, const Weighted& b);

  int32_t Draw(bool selected, double uniform) const;
  void RawLogprobs(std::span<const float> logits, int num_top, SampledToken& token);
  float RawLogprob(float logit) const;

  LogitMaxima maxima_;
  std::vector<std::pair<int32_t, float>> changed_;  // id and logit before, in order of change
  std::vector<float> values_;
  std::vector<int32_t> ids_;
  std::vector<Weighted> kept_;  // in an order that depends on the logits only
  std::vector<float> weights_;
  std::vector<double> block_sums_;
  std::vector<Weighted> at_cut_;
  std::vector<double> bin_sums_;
  double total_ = 0;  // of block_sums_
  float raw_max_ = 0;
  double raw_log_sum_ = 0;
};

}  // namespace vl2
