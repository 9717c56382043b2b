#include "gateway/http/chat_request.h"

#include <charconv>
#include <optional>
#include <utility>

#include "gateway/http/chat_messages.h"
#include "gateway/http/request_fields.h"
#include "runtime/base/excerpt.h"
#include "runtime/base/json_document.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

constexpr int kMaxJsonDepth = 32;

constexpr IntegerRange kSeedRange{"seed", INT64_MIN, INT64_MAX};
// -1 is what other servers take for "off".
constexpr IntegerRange kTopKOrOffRange{kTopKRange.name, -1, kTopKRange.high};
// The second is the newer name.
constexpr IntegerRange kMaxTokensRange{"max_tokens", 1, INT32_MAX};
constexpr IntegerRange kMaxCompletionTokensRange{"max_completion_tokens", 1, INT32_MAX};

bool IsEmptyArray(JsonView value) { return value.is_array() && value.size() == 0; }

absl::Status Unsupported(std::string_view key, std::string_view message) {
  return ParamError(key, message, "unsupported_parameter");
}

absl::Status RefuseUnsupported(const RequestFields& fields) {
  for (const char* key : {"tools", "functions"}) {
    const auto value = fields.Find(key);
    if (!value || IsEmptyArray(*value)) continue;
    return Unsupported(key, Cat(key, " are not supported by this model"));
  }
  for (const char* key : {"tool_choice", "function_call"}) {
    const auto value = fields.Find(key);
    if (!value || value->IsString("none") || value->IsString("auto")) continue;
    return Unsupported(key, Cat(key, " is not supported by this model"));
  }
  if (fields.Find("audio")) return Unsupported("audio", "audio is not supported by this model");
  if (const auto value = fields.Find("modalities")) {
    const bool text_alone =
        value->is_array() && value->size() == 1 && (*value->Elements().begin()).IsString("text");
    if (!text_alone) return Unsupported("modalities", "only the modality \"text\" is supported");
  }
  if (const auto value = fields.Find("response_format")) {
    const auto type = value->Find("type");
    if (!type || !type->IsString("text")) {
      return Unsupported("response_format",
                         "only response_format {\"type\": \"text\"} is supported");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const RequestFields& fields, const RequestDefaults& defaults) {
  const auto model = fields.Find("model");
  if (!model) return absl::OkStatus();
  if (!model->is_string()) return WrongType("model", "a string", *model);
  if (model->IsString(defaults.model_name)) return absl::OkStatus();
  return ParamError("model",
                    Cat("the model \"", Excerpt(model->String()),
                        "\" does not exist; this server has \"", defaults.model_name, "\""),
                    "model_not_found");
}

absl::Status ParseStreaming(const RequestFields& fields, ChatRequest& request) {
  VL2_RETURN_IF_ERROR(fields.Read("stream", &request.stream));
  const auto options = fields.Find("stream_options");
  if (!options) return absl::OkStatus();
  if (!options->is_object()) return WrongType("stream_options", "an object", *options);
  return RequestFields(*options, "stream_options").Read("include_usage", &request.include_usage);
}

absl::Status AddStop(JsonView stop, ChatTask& task) {
  if (!stop.is_string()) return WrongType("stop", "a string or an array of strings", stop);
  task.stop.emplace_back(stop.String());
  return absl::OkStatus();
}

absl::Status ParseStops(const RequestFields& fields, ChatTask& task) {
  const auto stop = fields.Find("stop");
  if (!stop) return absl::OkStatus();
  if (!stop->is_array()) return AddStop(*stop, task);
  if (stop->size() > TaskLimits::kMaxStops) {
    return ParamError(
        "stop", Cat("stop has ", stop->size(), " strings, the limit is ", TaskLimits::kMaxStops));
  }
  for (const JsonView each : stop->Elements()) VL2_RETURN_IF_ERROR(AddStop(each, task));
  return absl::OkStatus();
}

absl::Status ParseStopTokens(const RequestFields& fields, ChatTask& task) {
  const auto ids = fields.Find("stop_token_ids");
  if (!ids) return absl::OkStatus();
  if (!ids->is_array()) return WrongType("stop_token_ids", "an array of token ids", *ids);
  if (ids->size() > TaskLimits::kMaxStopTokens) {
    return ParamError("stop_token_ids", Cat("stop_token_ids has ", ids->size(),
                                            " ids, the limit is ", TaskLimits::kMaxStopTokens));
  }
  for (const JsonView each : ids->Elements()) {
    const auto id = each.is_number() ? each.Int64() : std::nullopt;
    if (!id || *id < 0 || *id > INT32_MAX) {
      const std::string what =
          each.is_number() ? Cat(each.Double()) : Cat("a value of type ", each.kind_name());
      return ParamError("stop_token_ids",
                        Cat("stop_token_ids has ", what, ", which is not a token id"));
    }
    task.stop_token_ids.push_back(static_cast<int32_t>(*id));
  }
  return absl::OkStatus();
}

absl::Status ParseLogitBias(const RequestFields& fields, SamplingChoice& sampling) {
  const auto bias = fields.Find("logit_bias");
  if (!bias) return absl::OkStatus();
  if (!bias->is_object()) return WrongType("logit_bias", "an object", *bias);
  if (bias->size() > TaskLimits::kMaxLogitBias) {
    return ParamError("logit_bias", Cat("logit_bias has ", bias->size(), " entries, the limit is ",
                                        TaskLimits::kMaxLogitBias));
  }
  const JsonView::Range entries = bias->Elements();
  for (auto it = entries.begin(); it != entries.end(); ++it) {
    const std::string_view key = (*it).String();
    ++it;
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      return ParamError("logit_bias",
                        Cat("logit_bias names \"", Excerpt(key), "\", which is not a token id"));
    }
    if (!(*it).is_number()) {
      return WrongType("logit_bias", Cat("a number for each token, also for ", id), *it);
    }
    sampling.logit_bias[id] = (*it).Double();
  }
  return absl::OkStatus();
}

absl::Status ParseSampling(const RequestFields& fields, ChatTask& task) {
  SamplingChoice& sampling = task.sampling;
  VL2_RETURN_IF_ERROR(fields.Read(kTemperatureRange, &sampling.temperature));
  VL2_RETURN_IF_ERROR(fields.Read(kTopPRange, &sampling.top_p));
  VL2_RETURN_IF_ERROR(fields.Read(kMinPRange, &sampling.min_p));
  VL2_RETURN_IF_ERROR(fields.Read(kRepetitionPenaltyRange, &sampling.repetition_penalty));
  VL2_RETURN_IF_ERROR(fields.Read(kPresencePenaltyRange, &sampling.presence_penalty));
  VL2_RETURN_IF_ERROR(fields.Read(kFrequencyPenaltyRange, &sampling.frequency_penalty));
  VL2_RETURN_IF_ERROR(fields.Read(kTopKOrOffRange, &sampling.top_k));
  if (sampling.top_k < 0) sampling.top_k = 0;
  VL2_RETURN_IF_ERROR(fields.Read(kSeedRange, &sampling.seed));
  VL2_RETURN_IF_ERROR(fields.Read("logprobs", &sampling.logprobs));
  VL2_RETURN_IF_ERROR(fields.Read(kTopLogprobsRange, &sampling.top_logprobs));
  VL2_RETURN_IF_ERROR(fields.Read("ignore_eos", &task.ignore_end_token));
  VL2_RETURN_IF_ERROR(fields.Read(kSamplesRange, &task.num_samples));
  VL2_RETURN_IF_ERROR(fields.Read(kMaxTokensRange, &task.max_new_tokens));
  VL2_RETURN_IF_ERROR(fields.Read(kMaxCompletionTokensRange, &task.max_new_tokens));
  return ParseLogitBias(fields, sampling);
}

}  // namespace

absl::StatusOr<ChatRequest> ParseChatRequest(std::string body, const RequestDefaults& defaults) {
  VL2_ASSIGN_OR_RETURN(const JsonDocument document,
                       JsonDocument::Parse(std::move(body), {.max_bytes = defaults.max_body_bytes,
                                                             .max_depth = kMaxJsonDepth,
                                                             .max_nodes = kMaxRequestNodes}));
  if (!document.root().is_object()) return InvalidArgument("the request must be a JSON object");
  const RequestFields fields(document.root(), "");
  VL2_RETURN_IF_ERROR(CheckModel(fields, defaults));
  VL2_RETURN_IF_ERROR(RefuseUnsupported(fields));
  ChatRequest request;
  ChatTask& task = request.task;
  task.sampling = defaults.sampling;
  task.sampling.seed = defaults.seed;
  VL2_RETURN_IF_ERROR(ParseStreaming(fields, request));
  VL2_RETURN_IF_ERROR(ParseSampling(fields, task));
  VL2_RETURN_IF_ERROR(ParseStops(fields, task));
  VL2_RETURN_IF_ERROR(ParseStopTokens(fields, task));
  const auto messages = fields.Find("messages");
  if (!messages) return ParamError("messages", "messages is missing, at least one is needed");
  VL2_RETURN_IF_ERROR(ParseMessages(*messages, defaults.fetch_images, request));
  // Otherwise when all bytes are there.
  if (request.remote_images.empty()) VL2_RETURN_IF_ERROR(ValidateTask(task));
  return request;
}

}  // namespace vl2::gateway
