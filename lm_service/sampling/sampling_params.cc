#include "lm_service/sampling/sampling_params.h"

#include <unordered_set>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

// Written so that NaN is outside every range.
absl::Status CheckRange(const char* name, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidArgument(name, ": ", value, " is outside [", min, ", ", max, "]");
}

absl::Status CheckPositive(const char* name, double value, double max) {
  if (value > 0 && value <= max) return absl::OkStatus();
  return InvalidArgument(name, ": ", value, " is outside (0, ", max, "]");
}

}  // namespace

absl::Status SamplingParams::Validate(int64_t vocab) const {
  VL2_RETURN_IF_ERROR(CheckRange("temperature", temperature, 0, kMaxTemperature));
  VL2_RETURN_IF_ERROR(CheckRange("top_p", top_p, 0, 1));
  VL2_RETURN_IF_ERROR(CheckRange("min_p", min_p, 0, 1));
  VL2_RETURN_IF_ERROR(
      CheckPositive("repetition_penalty", repetition_penalty, kMaxRepetitionPenalty));
  VL2_RETURN_IF_ERROR(CheckRange("presence_penalty", presence_penalty, -kMaxPenalty, kMaxPenalty));
  VL2_RETURN_IF_ERROR(
      CheckRange("frequency_penalty", frequency_penalty, -kMaxPenalty, kMaxPenalty));
  if (top_k < 0) return InvalidArgument("top_k: ", top_k, " is below 0");
  if (top_logprobs < 0 || top_logprobs > kMaxTopLogprobs) {
    return InvalidArgument("top_logprobs: ", top_logprobs, " is outside [0, ", kMaxTopLogprobs,
                           "]");
  }
  if (top_logprobs > 0 && !logprobs) {
    return InvalidArgument("top_logprobs: ", top_logprobs, " needs logprobs to be on");
  }
  if (logit_bias.size() > kMaxBiases) {
    return InvalidArgument("logit_bias: ", logit_bias.size(), " entries, the limit is ",
                           kMaxBiases);
  }
  std::unordered_set<int32_t> ids;
  for (const auto& [id, bias] : logit_bias) {
    if (id < 0 || id >= vocab) {
      return InvalidArgument("logit_bias: token ", id, " is outside [0, ", vocab, ")");
    }
    if (!ids.insert(id).second) return InvalidArgument("logit_bias: token ", id, " occurs twice");
    VL2_RETURN_IF_ERROR(CheckRange("logit_bias", bias, -kMaxBias, kMaxBias));
  }
  return absl::OkStatus();
}

}  // namespace vl2
