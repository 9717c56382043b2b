#include "gateway/session/chat_task.h"

#include <array>
#include <charconv>
#include <optional>

#include "runtime/base/error_details.h"
#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2::gateway {
namespace {

// The shortest text that reads as the same number.
std::string TextOf(double value) {
  std::array<char, 32> text;
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}
std::string TextOf(int64_t value) { return std::to_string(value); }

template <typename Range, typename Value>
absl::Status OutsideOf(const Range& range, Value value, std::string_view path, bool open_low) {
  const std::string_view name = path.empty() ? std::string_view(range.name) : path;
  return ParamError(name, Cat(name, " is ", TextOf(value), ", it must be in ", open_low ? "(" : "[",
                              TextOf(range.low), ", ", TextOf(range.high), "]"));
}

absl::Status ValidateSampling(const SamplingChoice& sampling) {
  VL2_RETURN_IF_ERROR(CheckRange(kTemperatureRange, sampling.temperature));
  VL2_RETURN_IF_ERROR(CheckRange(kTopPRange, sampling.top_p));
  VL2_RETURN_IF_ERROR(CheckRange(kMinPRange, sampling.min_p));
  VL2_RETURN_IF_ERROR(CheckRange(kRepetitionPenaltyRange, sampling.repetition_penalty));
  VL2_RETURN_IF_ERROR(CheckRange(kPresencePenaltyRange, sampling.presence_penalty));
  VL2_RETURN_IF_ERROR(CheckRange(kFrequencyPenaltyRange, sampling.frequency_penalty));
  VL2_RETURN_IF_ERROR(CheckRange(kTopKRange, sampling.top_k));
  VL2_RETURN_IF_ERROR(CheckRange(kTopLogprobsRange, sampling.top_logprobs));
  if (sampling.top_logprobs > 0 && !sampling.logprobs) {
    return ParamError("top_logprobs", Cat("top_logprobs is ", sampling.top_logprobs,
                                          ", which needs logprobs to be true"));
  }
  if (sampling.logit_bias.size() > TaskLimits::kMaxLogitBias) {
    return ParamError("logit_bias", Cat("logit_bias has ", sampling.logit_bias.size(),
                                        " entries, the limit is ", TaskLimits::kMaxLogitBias));
  }
  for (const auto& [id, bias] : sampling.logit_bias) {
    VL2_RETURN_IF_ERROR(CheckRange(kLogitBiasRange, bias));
    if (id < 0) return ParamError("logit_bias", Cat("logit_bias names token ", id));
  }
  return absl::OkStatus();
}

absl::Status ValidateTiling(const TilingChoice& tiling) {
  using Kind = TilingChoice::Kind;
  const auto fits = [](int64_t tiles) { return tiles >= 1 && tiles <= TaskLimits::kMaxTiles; };
  if (tiling.kind == Kind::kMaxTiles && !fits(tiling.max_tiles)) {
    return ParamError("tiling", Cat("max_tiles is ", tiling.max_tiles, ", it must be in [1, ",
                                    TaskLimits::kMaxTiles, "]"));
  }
  if (tiling.kind == Kind::kFixed && (!fits(tiling.tiles_wide) || !fits(tiling.tiles_high) ||
                                      !fits(int64_t{tiling.tiles_wide} * tiling.tiles_high))) {
    return ParamError("tiling", Cat("a tiling of ", tiling.tiles_wide, " by ", tiling.tiles_high,
                                    " tiles must have 1 to ", TaskLimits::kMaxTiles, " tiles"));
  }
  return absl::OkStatus();
}

absl::Status ValidateImages(const ChatTask& task) {
  size_t num_parts = 0;
  for (const ChatMessage& message : task.messages) {
    for (const ContentPart& part : message.parts) {
      if (part.kind != ContentPart::Kind::kImage) continue;
      ++num_parts;
      if (message.role != ChatRole::kUser) {
        return ParamError("messages", "a picture stands outside a user's message");
      }
    }
  }
  if (num_parts != task.images.size()) {
    return absl::InternalError(Cat(num_parts, " image parts, ", task.images.size(), " images"));
  }
  if (num_parts > TaskLimits::kMaxImages) {
    return ParamError("messages", Cat("the conversation has ", num_parts,
                                      " pictures, the limit is ", TaskLimits::kMaxImages));
  }
  for (const TaskImage& image : task.images) {
    if (image.bytes == nullptr || image.bytes->empty()) {
      return ParamError("messages", "a picture has 0 bytes");
    }
    VL2_RETURN_IF_ERROR(ValidateTiling(image.tiling));
  }
  return absl::OkStatus();
}

absl::Status ValidateStops(const ChatTask& task) {
  if (task.stop.size() > TaskLimits::kMaxStops) {
    return ParamError("stop", Cat("stop has ", task.stop.size(), " strings, the limit is ",
                                  TaskLimits::kMaxStops));
  }
  for (const std::string& stop : task.stop) {
    if (stop.empty() || stop.size() > TaskLimits::kMaxStopBytes) {
      return ParamError("stop", Cat("a stop string has ", stop.size(), " bytes, it must have 1 to ",
                                    TaskLimits::kMaxStopBytes));
    }
    if (!IsValidUtf8(stop)) return ParamError("stop", "a stop string is not valid UTF-8");
  }
  if (task.stop_token_ids.size() > TaskLimits::kMaxStopTokens) {
    return ParamError("stop_token_ids", Cat("stop_token_ids has ", task.stop_token_ids.size(),
                                            " ids, the limit is ", TaskLimits::kMaxStopTokens));
  }
  for (const int32_t id : task.stop_token_ids) {
    if (id < 0) return ParamError("stop_token_ids", Cat("stop_token_ids has the id ", id));
  }
  return absl::OkStatus();
}

}  // namespace

// Written so that NaN is outside every range.
absl::Status CheckRange(const NumberRange& range, double value, std::string_view path) {
  const bool above = range.open_low ? value > range.low : value >= range.low;
  if (above && value <= range.high) return absl::OkStatus();
  return OutsideOf(range, value, path, range.open_low);
}

absl::Status CheckRange(const IntegerRange& range, int64_t value, std::string_view path) {
  if (value >= range.low && value <= range.high) return absl::OkStatus();
  return OutsideOf(range, value, path, /*open_low=*/false);
}

absl::Status OutOfRange(const IntegerRange& range, double value, std::string_view path) {
  return OutsideOf(range, value, path, /*open_low=*/false);
}

absl::Status ParamError(std::string_view param, std::string_view message, std::string_view reason) {
  absl::Status status = WithParam(absl::InvalidArgumentError(std::string(message)), param);
  return reason.empty() ? status : WithReason(std::move(status), reason);
}

absl::Status ValidateTask(const ChatTask& task) {
  if (task.messages.empty()) return ParamError("messages", "messages is empty");
  VL2_RETURN_IF_ERROR(ValidateSampling(task.sampling));
  VL2_RETURN_IF_ERROR(ValidateImages(task));
  VL2_RETURN_IF_ERROR(ValidateStops(task));
  if (task.max_new_tokens < 0) {
    return ParamError("max_tokens", Cat("max_tokens is ", task.max_new_tokens));
  }
  VL2_RETURN_IF_ERROR(CheckRange(kSamplesRange, task.num_samples));
  if (task.request_id.size() > TaskLimits::kMaxNameBytes) {
    return ParamError("request_id", Cat("request_id has ", task.request_id.size(),
                                        " bytes, the limit is ", TaskLimits::kMaxNameBytes));
  }
  if (task.cache_salt.size() > TaskLimits::kMaxSaltBytes) {
    return ParamError("cache_salt", Cat("cache_salt has ", task.cache_salt.size(),
                                        " bytes, the limit is ", TaskLimits::kMaxSaltBytes));
  }
  return absl::OkStatus();
}

}  // namespace vl2::gateway
