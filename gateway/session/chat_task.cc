#include "gateway/session/chat_task.h"

#include <cmath>
#include <optional>

#include "absl/strings/cord.h"
#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2::gateway {
namespace {

constexpr char kParamUrl[] = "vl2/param";
constexpr char kCodeUrl[] = "vl2/code";

std::string Payload(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload ? std::string(*payload) : std::string();
}

absl::Status CheckRange(const char* name, double value, double low, double high, bool open_low) {
  const bool fits =
      std::isfinite(value) && value <= high && (open_low ? value > low : value >= low);
  if (fits) return absl::OkStatus();
  return ParamError(name, Cat(name, " is ", value, ", it must be in ", open_low ? "(" : "[", low,
                              ", ", high, "]"));
}

absl::Status ValidateSampling(const SamplingChoice& sampling) {
  VL2_RETURN_IF_ERROR(CheckRange("temperature", sampling.temperature, 0, 10, false));
  VL2_RETURN_IF_ERROR(CheckRange("top_p", sampling.top_p, 0, 1, true));
  VL2_RETURN_IF_ERROR(CheckRange("min_p", sampling.min_p, 0, 1, false));
  VL2_RETURN_IF_ERROR(CheckRange("repetition_penalty", sampling.repetition_penalty, 0, 10, true));
  VL2_RETURN_IF_ERROR(CheckRange("presence_penalty", sampling.presence_penalty, -2, 2, false));
  VL2_RETURN_IF_ERROR(CheckRange("frequency_penalty", sampling.frequency_penalty, -2, 2, false));
  VL2_RETURN_IF_ERROR(CheckRange("top_k", sampling.top_k, 0, INT32_MAX, false));
  VL2_RETURN_IF_ERROR(
      CheckRange("top_logprobs", sampling.top_logprobs, 0, TaskLimits::kMaxTopLogprobs, false));
  if (sampling.logit_bias.size() > TaskLimits::kMaxLogitBias) {
    return ParamError("logit_bias", Cat("logit_bias has ", sampling.logit_bias.size(),
                                        " entries, the limit is ", TaskLimits::kMaxLogitBias));
  }
  for (const auto& [id, bias] : sampling.logit_bias) {
    VL2_RETURN_IF_ERROR(CheckRange("logit_bias", bias, -100, 100, false));
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

absl::Status ParamError(std::string_view param, std::string_view message, std::string_view code) {
  absl::Status status = absl::InvalidArgumentError(std::string(message));
  status.SetPayload(kParamUrl, absl::Cord(std::string(param)));
  if (!code.empty()) status.SetPayload(kCodeUrl, absl::Cord(std::string(code)));
  return status;
}

std::string ParamOf(const absl::Status& status) { return Payload(status, kParamUrl); }
std::string CodeOf(const absl::Status& status) { return Payload(status, kCodeUrl); }

absl::Status ValidateTask(const ChatTask& task) {
  if (task.messages.empty()) return ParamError("messages", "messages is empty");
  VL2_RETURN_IF_ERROR(ValidateSampling(task.sampling));
  VL2_RETURN_IF_ERROR(ValidateImages(task));
  VL2_RETURN_IF_ERROR(ValidateStops(task));
  if (task.max_new_tokens < 0) {
    return ParamError("max_tokens", Cat("max_tokens is ", task.max_new_tokens));
  }
  if (task.num_samples < 1 || task.num_samples > TaskLimits::kMaxSamples) {
    return ParamError(
        "n", Cat("n is ", task.num_samples, ", it must be in [1, ", TaskLimits::kMaxSamples, "]"));
  }
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
