#include "lm_service/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lm_service/sampling/philox.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kSmallest = std::numeric_limits<float>::min();
// Top-p without top-k looks at this many words before it looks at all.
constexpr size_t kFirstTopPWords = 256;
// More words than this are not sorted to find where top-p cuts.
constexpr size_t kMaxSortedWords = 2048;
// Bins of exponents down to -88; below, weights hardly count.
constexpr double kBinsPerUnit = 32;
constexpr size_t kNumBins = 88 * 32;

bool IsGreedy(const SamplingParams& params) {
  return params.temperature < SamplingParams::kMinTemperature;
}

absl::Status CheckFinite(const LogitMaxima& maxima) {
  if (maxima.has_nan) return absl::InternalError("the logits hold NaN");
  if (maxima.max == kInfinity) return absl::InternalError("the logits hold infinity");
  if (maxima.max == -kInfinity) return absl::InternalError("all logits are -infinity");
  return absl::OkStatus();
}

int32_t LowestIdOfMax(std::span<const float> logits, const LogitMaxima& maxima) {
  const auto block = std::find(maxima.blocks.begin(), maxima.blocks.end(), maxima.max);
  auto at = static_cast<size_t>(block - maxima.blocks.begin()) * kLogitBlock;
  while (logits[at] != maxima.max) ++at;
  return static_cast<int32_t>(at);
}

}  // namespace

// Bias, then the repetition penalty, then presence and frequency: each works on what the one before
// it left, so changed_ may name a word more than once.
absl::Status Sampler::Adjust(std::span<float> logits, const SamplingParams& params,
                             const TokenHistory& history) {
  const auto change = [&](int32_t id, auto&& formula) {
    float& logit = logits[static_cast<size_t>(id)];
    changed_.emplace_back(id, logit);
    logit = formula(logit);
  };
  for (const auto& [id, bias] : params.logit_bias) {
    change(id, [value = static_cast<float>(bias)](float logit) { return logit + value; });
  }
  // Of the smallest penalties, a quotient is too large for a float and the penalty itself too
  // small: the logit is then the largest there is, never infinity or NaN.
  const float repetition = std::max(static_cast<float>(params.repetition_penalty), kSmallest);
  const auto presence = static_cast<float>(params.presence_penalty);
  const auto frequency = static_cast<float>(params.frequency_penalty);
  const bool repeats = repetition != 1.0f;
  const bool counts = presence != 0.0f || frequency != 0.0f;
  if (!repeats && !counts) return absl::OkStatus();
  for (const TokenHistory::Entry& entry : history.entries()) {
    if (entry.id < 0 || static_cast<size_t>(entry.id) >= logits.size()) {
      return InvalidArgument("the sequence holds token ", entry.id, ", the vocabulary has ",
                             logits.size());
    }
    if (!repeats && entry.num_generated == 0) continue;
    change(entry.id, [&](float logit) {
      if (repeats && logit != kInfinity) {
        logit = logit > 0 ? std::min(logit / repetition, kLargest) : logit * repetition;
      }
      if (counts && entry.num_generated > 0) {
        logit -= presence + frequency * static_cast<float>(entry.num_generated);
      }
      return logit;
    });
  }
  return absl::OkStatus();
}

void Sampler::Restore(std::span<float> logits) {
  for (auto it = changed_.rbegin(); it != changed_.rend(); ++it) {
    logits[static_cast<size_t>(it->first)] = it->second;
  }
  changed_.clear();
}

bool Sampler::IsLikelier(const Weighted& a, const Weighted& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// kept_ from ids_, in order of id.
void Sampler::Collect(std::span<const float> logits, double temperature) {
  kept_.clear();
  for (const int32_t id : ids_) {
    const float logit = logits[static_cast<size_t>(id)];
    if (logit == -kInfinity) continue;
    kept_.push_back({id, logit, std::exp((double{logit} - double{maxima_.max}) / temperature)});
  }
}

// A word stays while those above it have not reached `limit`. Words above kept_[first] weigh
// `above`. REQUIRES: kept_ is sorted from `first` on.
void Sampler::CutSorted(size_t first, double above, double limit) {
  size_t count = first;
  while (count < kept_.size() && (count == 0 || above < limit)) above += kept_[count++].weight;
  kept_.resize(count);
}

// Keeps the smallest set from the top of kept_ whose weight reaches `limit`. A flat distribution
// keeps most of the vocabulary, which would take long to sort. So the words of a large set are
// counted into bins by their logit, and only the bin that the cut goes through is sorted.
void Sampler::KeepTopP(double temperature, double limit) {
  if (kept_.size() <= kMaxSortedWords) {
    std::sort(kept_.begin(), kept_.end(), IsLikelier);
    CutSorted(0, 0, limit);
    return;
  }
  const auto bin_of = [&](const Weighted& word) {
    const double exponent = (double{maxima_.max} - double{word.logit}) / temperature;
    return static_cast<size_t>(std::min(exponent * kBinsPerUnit, double{kNumBins - 1}));
  };
  bin_sums_.assign(kNumBins, 0.0);
  for (const Weighted& word : kept_) bin_sums_[bin_of(word)] += word.weight;
  double above = 0;
  size_t cut = 0;
  while (cut + 1 < kNumBins && above + bin_sums_[cut] < limit) above += bin_sums_[cut++];

  at_cut_.clear();
  std::erase_if(kept_, [&](const Weighted& word) {
    const size_t bin = bin_of(word);
    if (bin == cut) at_cut_.push_back(word);
    return bin >= cut;
  });
  std::sort(at_cut_.begin(), at_cut_.end(), IsLikelier);
  const size_t first = kept_.size();
  kept_.insert(kept_.end(), at_cut_.begin(), at_cut_.end());
  CutSorted(first, above, limit);
}

// Top-p over the whole vocabulary. Mostly a few hundred words are enough.
void Sampler::SelectTopP(std::span<const float> logits, const SamplingParams& params) {
  total_ = ExpWeights(logits, maxima_.max, static_cast<float>(1 / params.temperature), weights_,
                      block_sums_);
  const double limit = params.top_p * total_;
  if (kFirstTopPWords < logits.size()) {
    FindTopK(logits, maxima_, kFirstTopPWords, values_, ids_);
    Collect(logits, params.temperature);
    const size_t num_words = kept_.size();
    KeepTopP(params.temperature, limit);
    // The cut is among the words looked at: looking at more would not move it.
    if (kept_.size() < num_words) return;
  }
  kept_.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    if (weights_[id] == 0) continue;
    kept_.push_back({static_cast<int32_t>(id), logits[id], double{weights_[id]}});
  }
  KeepTopP(params.temperature, limit);
}

bool Sampler::Select(std::span<const float> logits, const SamplingParams& params) {
  const double temperature = params.temperature;
  const auto top_k = static_cast<size_t>(params.top_k);
  if (top_k > 0 && top_k < logits.size()) {
    FindTopK(logits, maxima_, top_k, values_, ids_);
    Collect(logits, temperature);
    if (params.top_p < 1) {
      double total = 0;
      for (const Weighted& word : kept_) total += word.weight;
      KeepTopP(temperature, params.top_p * total);
    }
  } else if (params.top_p < 1) {
    SelectTopP(logits, params);
  } else if (params.min_p > 0) {
    // One unit in the last place lower, so that rounding loses no word; the test below decides.
    const double threshold = double{maxima_.max} + temperature * std::log(params.min_p);
    FindAtLeast(logits, maxima_, std::nextafter(static_cast<float>(threshold), -kInfinity), ids_);
    Collect(logits, temperature);
  } else {
    total_ =
        ExpWeights(logits, maxima_.max, static_cast<float>(1 / temperature), weights_, block_sums_);
    return false;
  }
  // The likeliest word has weight 1.
  if (params.min_p > 0) {
    std::erase_if(kept_, [&](const Weighted& word) { return word.weight < params.min_p; });
  }
  return true;
}

int32_t Sampler::Draw(bool selected, double uniform) const {
  if (selected) {
    double total = 0;
    for (const Weighted& word : kept_) total += word.weight;
    double rest = uniform * total;
    for (const Weighted& word : kept_) {
      if (rest < word.weight) return word.id;
      rest -= word.weight;
    }
    // Rounding left a remainder.
    return std::min_element(kept_.begin(), kept_.end(), IsLikelier)->id;
  }
  double rest = uniform * total_;
  size_t block = 0;
  while (block + 1 < block_sums_.size() && rest >= block_sums_[block]) rest -= block_sums_[block++];
  const size_t end = std::min(weights_.size(), (block + 1) * kLogitBlock);
  int32_t last = -1;
  for (size_t i = block * kLogitBlock; i < end; ++i) {
    if (weights_[i] == 0) continue;
    last = static_cast<int32_t>(i);
    if (rest < double{weights_[i]}) return last;
    rest -= double{weights_[i]};
  }
  if (last >= 0) return last;
  // Rounding led behind the last word that has a weight.
  const auto heaviest = std::max_element(weights_.begin(), weights_.end());
  return static_cast<int32_t>(heaviest - weights_.begin());
}

float Sampler::RawLogprob(float logit) const {
  return static_cast<float>(double{logit} - double{raw_max_} - raw_log_sum_);
}

// Of the logits as they came.
void Sampler::RawLogprobs(std::span<const float> logits, int num_top, SampledToken& token) {
  raw_max_ = maxima_.max;
  raw_log_sum_ = std::log(ExpWeights(logits, raw_max_, 1.0f, weights_, block_sums_));
  if (num_top == 0) return;
  const auto count = std::min(static_cast<size_t>(num_top), logits.size());
  FindTopK(logits, maxima_, count, values_, ids_);
  Collect(logits, 1.0);
  std::sort(kept_.begin(), kept_.end(), IsLikelier);
  if (kept_.size() > count) kept_.resize(count);
  for (const Weighted& word : kept_) {
    token.top_logprobs.push_back({word.id, RawLogprob(word.logit)});
  }
}

absl::StatusOr<SampledToken> Sampler::Sample(std::span<float> logits, const SamplingParams& params,
                                             const TokenHistory& history, uint32_t sample,
                                             uint64_t position) {
  if (logits.empty()) return absl::InternalError("there are no logits");
  SampledToken token;
  if (params.logprobs) {
    FindMaxima(logits, maxima_);
    VL2_RETURN_IF_ERROR(CheckFinite(maxima_));
    RawLogprobs(logits, params.top_logprobs, token);
  }
  absl::Status status = Adjust(logits, params, history);
  if (status.ok()) {
    FindMaxima(logits, maxima_);
    status = CheckFinite(maxima_);
  }
  if (status.ok()) {
    token.id = IsGreedy(params)
                   ? LowestIdOfMax(logits, maxima_)
                   : Draw(Select(logits, params), UniformAt(params.seed, sample, position));
  }
  Restore(logits);
  VL2_RETURN_IF_ERROR(status);
  if (params.logprobs) token.logprob = RawLogprob(logits[static_cast<size_t>(token.id)]);
  return token;
}

absl::StatusOr<std::vector<Sampler::Candidate>> Sampler::Distribution(std::span<float> logits,
                                                                      const SamplingParams& params,
                                                                      const TokenHistory& history) {
  if (logits.empty()) return absl::InternalError("there are no logits");
  absl::Status status = Adjust(logits, params, history);
  if (status.ok()) {
    FindMaxima(logits, maxima_);
    status = CheckFinite(maxima_);
  }
  std::vector<Candidate> candidates;
  if (status.ok() && IsGreedy(params)) {
    candidates.push_back({LowestIdOfMax(logits, maxima_), maxima_.max, 1.0});
  } else if (status.ok()) {
    if (!Select(logits, params)) {
      ids_.clear();
      for (size_t id = 0; id < logits.size(); ++id) ids_.push_back(static_cast<int32_t>(id));
      Collect(logits, params.temperature);
      for (Weighted& word : kept_) word.weight = double{weights_[static_cast<size_t>(word.id)]};
    }
    std::sort(kept_.begin(), kept_.end(), IsLikelier);
    double total = 0;
    for (const Weighted& word : kept_) total += word.weight;
    for (const Weighted& word : kept_) {
      candidates.push_back({word.id, static_cast<float>(double{word.logit} / params.temperature),
                            word.weight / total});
    }
  }
  Restore(logits);
  VL2_RETURN_IF_ERROR(status);
  return candidates;
}

}  // namespace vl2
