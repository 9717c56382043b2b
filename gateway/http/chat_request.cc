#include "gateway/http/chat_request.h"

#include <charconv>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gateway/http/base64.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

constexpr int kMaxJsonDepth = 32;

// Adds the field's name to an error, for the client's "param".
absl::Status WithParam(const absl::Status& status, std::string_view param) {
  return status.ok() ? status : ParamError(param, Message(status));
}
template <typename T>
absl::StatusOr<T> WithParam(absl::StatusOr<T> value, std::string_view param) {
  if (value.ok()) return value;
  return WithParam(value.status(), param);
}

// Fields of the request's object, whose errors name them as "param".
class RequestFields {
 public:
  explicit RequestFields(const Json& object) : fields_(object, "request") {}

  absl::Status Read(const char* key, double low, double high, double* value) const {
    VL2_ASSIGN_OR_RETURN(*value, WithParam(fields_.Double(key, *value, low, high), key));
    return absl::OkStatus();
  }
  template <typename Int>
  absl::Status Read(const char* key, int64_t low, int64_t high, Int* value) const {
    VL2_ASSIGN_OR_RETURN(const int64_t number,
                         WithParam(fields_.Int(key, static_cast<int64_t>(*value), low, high), key));
    *value = static_cast<Int>(number);
    return absl::OkStatus();
  }
  absl::Status Read(const char* key, bool* value) const {
    VL2_ASSIGN_OR_RETURN(*value, WithParam(fields_.Bool(key, *value), key));
    return absl::OkStatus();
  }
  const Json* Find(const char* key) const { return fields_.Find(key); }

 private:
  JsonFields fields_;
};

absl::Status RefuseUnsupported(const RequestFields& fields) {
  for (const char* key : {"tools", "functions"}) {
    const Json* value = fields.Find(key);
    if (value == nullptr || (value->is_array() && value->empty())) continue;
    return ParamError(key, Cat(key, " are not supported by this model"), "unsupported_parameter");
  }
  for (const char* key : {"tool_choice", "function_call"}) {
    const Json* value = fields.Find(key);
    if (value == nullptr || *value == "none" || *value == "auto") continue;
    return ParamError(key, Cat(key, " is not supported by this model"), "unsupported_parameter");
  }
  if (fields.Find("audio") != nullptr) {
    return ParamError("audio", "audio is not supported by this model", "unsupported_parameter");
  }
  if (const Json* value = fields.Find("modalities"); value != nullptr && *value != Json{"text"}) {
    return ParamError("modalities", "only the modality \"text\" is supported",
                      "unsupported_parameter");
  }
  if (const Json* value = fields.Find("response_format"); value != nullptr) {
    const Json* type = JsonFields(*value, "response_format").Find("type");
    if (type == nullptr || *type != "text") {
      return ParamError("response_format", "only response_format {\"type\": \"text\"} is supported",
                        "unsupported_parameter");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TilingChoice> ParseTiling(const Json& json, const std::string& where) {
  if (!json.is_object()) return ParamError(where, Cat(where, " must be an object"));
  const JsonFields fields(json, where);
  TilingChoice tiling;
  if (fields.Has("max_tiles")) {
    if (fields.Has("tiles_wide") || fields.Has("tiles_high")) {
      return ParamError(where, Cat(where, " has max_tiles and exact tiles; give one of them"));
    }
    VL2_ASSIGN_OR_RETURN(const int64_t max_tiles,
                         WithParam(fields.Int("max_tiles", {}, 1, TaskLimits::kMaxTiles), where));
    tiling.kind = TilingChoice::Kind::kMaxTiles;
    tiling.max_tiles = static_cast<int>(max_tiles);
    return tiling;
  }
  VL2_ASSIGN_OR_RETURN(const int64_t wide,
                       WithParam(fields.Int("tiles_wide", {}, 1, TaskLimits::kMaxTiles), where));
  VL2_ASSIGN_OR_RETURN(const int64_t high,
                       WithParam(fields.Int("tiles_high", {}, 1, TaskLimits::kMaxTiles), where));
  tiling.kind = TilingChoice::Kind::kFixed;
  tiling.tiles_wide = static_cast<int>(wide);
  tiling.tiles_high = static_cast<int>(high);
  return tiling;
}

// `tiling` and `policy`, which may stand beside image_url's url or in the part itself.
absl::Status ParseImageExtensions(const JsonFields& fields, const std::string& where,
                                  TaskImage& image) {
  if (const Json* tiling = fields.Find("tiling")) {
    VL2_ASSIGN_OR_RETURN(image.tiling, ParseTiling(*tiling, where + ".tiling"));
  }
  const Json* policy = fields.Find("policy");
  if (policy == nullptr) return absl::OkStatus();
  if (*policy != "serving" && *policy != "published") {
    return ParamError(where + ".policy", "policy must be \"serving\" or \"published\"");
  }
  image.policy = *policy == "published" ? ImagePolicy::kPublished : ImagePolicy::kServing;
  return absl::OkStatus();
}

bool IsRemote(const std::string& url) {
  return absl::StartsWithIgnoreCase(url, "http://") || absl::StartsWithIgnoreCase(url, "https://");
}

absl::StatusOr<std::string> DecodeDataUri(std::string_view url, const std::string& where) {
  if (!url.starts_with("data:")) {
    return ParamError(where, Cat(where, " must be a data:image/...;base64,... address"),
                      "invalid_image_url");
  }
  const size_t comma = url.find(',');
  const std::string_view media = url.substr(0, comma);
  if (comma == std::string_view::npos || !media.ends_with(";base64")) {
    return ParamError(where, Cat(where, ": a data address must be base64-encoded"),
                      "invalid_image_url");
  }
  // The type itself is not believed: the vision service looks at the bytes.
  if (!media.starts_with("data:image/") && !media.starts_with("data:application/octet-stream")) {
    return ParamError(where, Cat(where, ": the data's type must be image/..."),
                      "invalid_image_url");
  }
  auto bytes = DecodeBase64(url.substr(comma + 1));
  if (!bytes.ok()) {
    return ParamError(where, Cat(where, ": ", Message(bytes.status())), "invalid_image_url");
  }
  if (bytes->empty()) return ParamError(where, Cat(where, ": 0 bytes"), "invalid_image_url");
  return bytes;
}

// Adds the picture of a part to the request.
absl::Status ParseImage(const Json& part, const std::string& where, bool fetch_images,
                        ChatRequest& request) {
  const std::string here = where + ".image_url";
  const auto found = part.find("image_url");
  if (found == part.end()) return ParamError(here, Cat(here, " is missing"));
  const bool plain = found->is_string();
  const Json* url = plain ? &*found : nullptr;
  TaskImage image;
  if (!plain) {
    if (!found->is_object()) return ParamError(here, Cat(here, " must be an object or a string"));
    const JsonFields fields(*found, here);
    url = fields.Find("url");
    if (url == nullptr || !url->is_string()) {
      return ParamError(here, Cat(here, ".url must be a string"));
    }
    VL2_ASSIGN_OR_RETURN(const std::string detail,
                         WithParam(fields.String("detail", "auto"), here + ".detail"));
    if (detail == "low") {
      image.tiling.kind = TilingChoice::Kind::kSingleTile;
    } else if (detail != "auto" && detail != "high") {
      return ParamError(here + ".detail", "detail must be \"low\", \"high\" or \"auto\"");
    }
    VL2_RETURN_IF_ERROR(ParseImageExtensions(fields, here, image));
  }
  VL2_RETURN_IF_ERROR(ParseImageExtensions(JsonFields(part, where), where, image));
  const auto& address = url->get_ref<const std::string&>();
  const std::string param = here + ".url";
  if (!IsRemote(address)) {
    VL2_ASSIGN_OR_RETURN(std::string bytes, DecodeDataUri(address, param));
    image.bytes = std::make_shared<const std::string>(std::move(bytes));
  } else if (fetch_images) {
    request.remote_images.push_back({request.task.images.size(), address, param});
  } else {
    return ParamError(param,
                      Cat(param,
                          " is an http(s) address; this server fetches nothing, send the "
                          "picture itself as data:image/...;base64,..."),
                      "unsupported_image_url");
  }
  request.task.images.push_back(std::move(image));
  return absl::OkStatus();
}

absl::Status ParseParts(const Json& parts, const std::string& where, bool fetch_images,
                        ChatMessage& message, ChatRequest& request) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const Json& part = parts[i];
    const std::string here = Cat(where, "[", i, "]");
    if (!part.is_object()) return ParamError(here, Cat(here, " must be an object"));
    const auto type = part.find("type");
    if (type == part.end() || !type->is_string()) {
      return ParamError(here + ".type", Cat(here, ".type must be a string"));
    }
    if (*type == "text") {
      const auto text = part.find("text");
      if (text == part.end() || !text->is_string()) {
        return ParamError(here + ".text", Cat(here, ".text must be a string"));
      }
      message.parts.push_back(ContentPart::Text(text->get<std::string>()));
    } else if (*type == "image_url") {
      if (message.role != ChatRole::kUser) {
        return ParamError(here, Cat(here, ": pictures stand in user messages only"));
      }
      if (request.task.images.size() >= TaskLimits::kMaxImages) {
        return ParamError(here, Cat("more than ", TaskLimits::kMaxImages, " pictures"));
      }
      VL2_RETURN_IF_ERROR(ParseImage(part, here, fetch_images, request));
      message.parts.push_back(ContentPart::Image());
    } else {
      return ParamError(here + ".type", Cat(here, ".type must be \"text\" or \"image_url\""),
                        "unsupported_content");
    }
  }
  return absl::OkStatus();
}

absl::Status ParseMessage(const Json& json, const std::string& where, bool fetch_images,
                          ChatRequest& request) {
  if (!json.is_object()) return ParamError(where, Cat(where, " must be an object"));
  const JsonFields fields(json, where);
  VL2_ASSIGN_OR_RETURN(const std::string role,
                       WithParam(fields.String("role", {}), where + ".role"));
  ChatMessage message;
  if (role == "user") {
    message.role = ChatRole::kUser;
  } else if (role == "assistant") {
    message.role = ChatRole::kAssistant;
  } else if (role == "system" || role == "developer") {
    message.role = ChatRole::kSystem;
  } else {
    return ParamError(where + ".role",
                      Cat(where, ".role must be system, developer, user or assistant"));
  }
  for (const char* key : {"tool_calls", "function_call", "audio"}) {
    const Json* value = fields.Find(key);
    if (value == nullptr || (value->is_array() && value->empty())) continue;
    return ParamError(Cat(where, ".", key), Cat(where, ".", key, " is not supported"),
                      "unsupported_parameter");
  }
  const Json* content = fields.Find("content");
  if (content == nullptr) {
    if (message.role != ChatRole::kAssistant) {
      return ParamError(where + ".content", Cat(where, ".content is missing"));
    }
  } else if (content->is_string()) {
    message.parts.push_back(ContentPart::Text(content->get<std::string>()));
  } else if (content->is_array()) {
    VL2_RETURN_IF_ERROR(ParseParts(*content, where + ".content", fetch_images, message, request));
  } else {
    return ParamError(where + ".content", Cat(where, ".content must be a string or an array"));
  }
  request.task.messages.push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status ParseMessages(const RequestFields& fields, bool fetch_images, ChatRequest& request) {
  const Json* messages = fields.Find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return ParamError("messages", "messages must be an array of at least one message");
  }
  if (messages->size() > ChatTemplateOptions::kMaxMessages) {
    return ParamError("messages", Cat("messages has ", messages->size(), " entries, the limit is ",
                                      ChatTemplateOptions::kMaxMessages));
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    VL2_RETURN_IF_ERROR(
        ParseMessage((*messages)[i], Cat("messages[", i, "]"), fetch_images, request));
  }
  return absl::OkStatus();
}

absl::Status ParseStops(const RequestFields& fields, ChatTask& task) {
  if (const Json* stop = fields.Find("stop"); stop != nullptr) {
    const Json list = stop->is_array() ? *stop : Json::array({*stop});
    if (list.size() > TaskLimits::kMaxStops) {
      return ParamError(
          "stop", Cat("stop has ", list.size(), " strings, the limit is ", TaskLimits::kMaxStops));
    }
    for (const Json& each : list) {
      if (!each.is_string()) {
        return ParamError("stop", "stop must be a string or an array of strings");
      }
      task.stop.push_back(each.get<std::string>());
    }
  }
  if (const Json* ids = fields.Find("stop_token_ids"); ids != nullptr) {
    if (!ids->is_array() || ids->size() > TaskLimits::kMaxStopTokens) {
      return ParamError("stop_token_ids", Cat("stop_token_ids must be an array of at most ",
                                              TaskLimits::kMaxStopTokens, " ids"));
    }
    for (const Json& id : *ids) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t{INT32_MAX}) {
        return ParamError("stop_token_ids",
                          Cat("stop_token_ids: ", id.dump(), " is not a token id"));
      }
      task.stop_token_ids.push_back(id.get<int32_t>());
    }
  }
  return absl::OkStatus();
}

absl::Status ParseLogitBias(const RequestFields& fields, SamplingChoice& sampling) {
  const Json* bias = fields.Find("logit_bias");
  if (bias == nullptr) return absl::OkStatus();
  if (!bias->is_object() || bias->size() > TaskLimits::kMaxLogitBias) {
    return ParamError("logit_bias", Cat("logit_bias must be an object of at most ",
                                        TaskLimits::kMaxLogitBias, " entries"));
  }
  for (const auto& [key, value] : bias->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      return ParamError("logit_bias", Cat("logit_bias: \"", key, "\" is not a token id"));
    }
    if (!value.is_number()) {
      return ParamError("logit_bias", Cat("logit_bias of token ", id, " is not a number"));
    }
    sampling.logit_bias[id] = value.get<double>();
  }
  return absl::OkStatus();
}

absl::Status ParseSampling(const RequestFields& fields, ChatTask& task) {
  SamplingChoice& sampling = task.sampling;
  VL2_RETURN_IF_ERROR(fields.Read("temperature", 0.0, 10.0, &sampling.temperature));
  VL2_RETURN_IF_ERROR(fields.Read("top_p", 0.0, 1.0, &sampling.top_p));
  VL2_RETURN_IF_ERROR(fields.Read("min_p", 0.0, 1.0, &sampling.min_p));
  VL2_RETURN_IF_ERROR(fields.Read("repetition_penalty", 0.0, 10.0, &sampling.repetition_penalty));
  VL2_RETURN_IF_ERROR(fields.Read("presence_penalty", -2.0, 2.0, &sampling.presence_penalty));
  VL2_RETURN_IF_ERROR(fields.Read("frequency_penalty", -2.0, 2.0, &sampling.frequency_penalty));
  // -1 is what other servers take for "off".
  VL2_RETURN_IF_ERROR(fields.Read("top_k", int64_t{-1}, int64_t{INT32_MAX}, &sampling.top_k));
  if (sampling.top_k < 0) sampling.top_k = 0;
  VL2_RETURN_IF_ERROR(fields.Read("seed", INT64_MIN, INT64_MAX, &sampling.seed));
  VL2_RETURN_IF_ERROR(fields.Read("logprobs", &sampling.logprobs));
  VL2_RETURN_IF_ERROR(fields.Read("top_logprobs", int64_t{0}, int64_t{TaskLimits::kMaxTopLogprobs},
                                  &sampling.top_logprobs));
  if (sampling.top_logprobs > 0 && !sampling.logprobs) {
    return ParamError("top_logprobs", "top_logprobs needs logprobs to be true");
  }
  return ParseLogitBias(fields, sampling);
}

absl::Status ParseLengths(const RequestFields& fields, ChatTask& task) {
  int64_t max_tokens = 0;
  VL2_RETURN_IF_ERROR(
      fields.Read("n", int64_t{1}, int64_t{TaskLimits::kMaxSamples}, &task.num_samples));
  for (const char* key : {"max_tokens", "max_completion_tokens"}) {  // the second is the newer name
    if (fields.Find(key) == nullptr) continue;
    VL2_RETURN_IF_ERROR(fields.Read(key, int64_t{1}, int64_t{INT32_MAX}, &max_tokens));
    task.max_new_tokens = max_tokens;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatRequest> ParseChatRequest(std::string_view body,
                                             const RequestDefaults& defaults) {
  VL2_ASSIGN_OR_RETURN(const Json json, ParseJson(body, {defaults.max_body_bytes, kMaxJsonDepth}));
  if (!json.is_object()) return InvalidArgument("the request must be a JSON object");
  const RequestFields fields(json);
  if (const Json* model = fields.Find("model"); model != nullptr) {
    if (!model->is_string()) return ParamError("model", "model must be a string");
    if (*model != defaults.model_name) {
      return ParamError("model",
                        Cat("the model ", model->dump(), " does not exist; this server has \"",
                            defaults.model_name, "\""),
                        "model_not_found");
    }
  }
  VL2_RETURN_IF_ERROR(RefuseUnsupported(fields));
  ChatRequest request;
  ChatTask& task = request.task;
  task.sampling = defaults.sampling;
  task.sampling.seed = defaults.seed;
  VL2_RETURN_IF_ERROR(fields.Read("stream", &request.stream));
  if (const Json* options = fields.Find("stream_options"); options != nullptr) {
    VL2_ASSIGN_OR_RETURN(
        request.include_usage,
        WithParam(JsonFields(*options, "stream_options").Bool("include_usage", false),
                  "stream_options"));
  }
  VL2_RETURN_IF_ERROR(ParseSampling(fields, task));
  VL2_RETURN_IF_ERROR(ParseLengths(fields, task));
  VL2_RETURN_IF_ERROR(ParseStops(fields, task));
  VL2_RETURN_IF_ERROR(fields.Read("ignore_eos", &task.ignore_end_token));
  VL2_RETURN_IF_ERROR(ParseMessages(fields, defaults.fetch_images, request));
  // Otherwise when all bytes are there.
  if (request.remote_images.empty()) {
    VL2_RETURN_IF_ERROR(ValidateTask(task));
  }
  return request;
}

}  // namespace vl2::gateway
