#include "gateway/http/chat_messages.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "gateway/http/data_uri.h"
#include "gateway/http/request_fields.h"
#include "runtime/base/status.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace vl2::gateway {
namespace {

constexpr IntegerRange kMaxTilesRange{"max_tiles", 1, TaskLimits::kMaxTiles};
constexpr IntegerRange kTilesWideRange{"tiles_wide", 1, TaskLimits::kMaxTiles};
constexpr IntegerRange kTilesHighRange{"tiles_high", 1, TaskLimits::kMaxTiles};

absl::StatusOr<RequestFields> FieldsOf(JsonView json, const std::string& path) {
  if (!json.is_object()) return WrongType(path, "an object", json);
  return RequestFields(json, path);
}

// All messages of one request.
class MessageParser {
 public:
  MessageParser(bool fetch_images, ChatRequest& request)
      : fetch_images_(fetch_images), request_(request) {}

  absl::Status ParseMessage(JsonView json, const std::string& path);

 private:
  absl::Status ParseParts(JsonView parts, const std::string& path, ChatMessage& message);
  absl::Status ParsePart(JsonView json, const std::string& path, ChatMessage& message);
  absl::Status ParseImage(const RequestFields& part);
  absl::Status ParseUrl(std::string_view url, const std::string& path, TaskImage& image);
  absl::Status AddText(JsonView text, const std::string& path, ChatMessage& message);

  const bool fetch_images_;
  ChatRequest& request_;
  size_t num_text_bytes_ = 0;
  size_t num_parts_ = 0;
};

absl::StatusOr<ChatRole> RoleOf(const RequestFields& fields) {
  const std::string path = fields.PathOf("role");
  const auto role = fields.Find("role");
  if (!role) return ParamError(path, Cat(path, " is missing"));
  if (role->IsString("user")) return ChatRole::kUser;
  if (role->IsString("assistant")) return ChatRole::kAssistant;
  if (role->IsString("system") || role->IsString("developer")) return ChatRole::kSystem;
  return ParamError(path, Cat(path, " must be system, developer, user or assistant"));
}

absl::Status MessageParser::ParseMessage(JsonView json, const std::string& path) {
  VL2_ASSIGN_OR_RETURN(const RequestFields fields, FieldsOf(json, path));
  ChatMessage message;
  VL2_ASSIGN_OR_RETURN(message.role, RoleOf(fields));
  for (const char* key : {"tool_calls", "function_call", "audio"}) {
    const auto value = fields.Find(key);
    if (!value || (value->is_array() && value->size() == 0)) continue;
    return ParamError(fields.PathOf(key), Cat(fields.PathOf(key), " is not supported"),
                      "unsupported_parameter");
  }
  const std::string content_path = fields.PathOf("content");
  const auto content = fields.Find("content");
  if (!content) {
    if (message.role != ChatRole::kAssistant) {
      return ParamError(content_path, Cat(content_path, " is missing"));
    }
  } else if (content->is_string()) {
    VL2_RETURN_IF_ERROR(AddText(*content, content_path, message));
  } else if (content->is_array()) {
    VL2_RETURN_IF_ERROR(ParseParts(*content, content_path, message));
  } else {
    return WrongType(content_path, "a string or an array", *content);
  }
  request_.task.messages.push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status MessageParser::ParseParts(JsonView parts, const std::string& path,
                                       ChatMessage& message) {
  num_parts_ += parts.size();
  if (num_parts_ > ChatTemplateOptions::kMaxParts) {
    return ParamError("messages", Cat("the messages have more than ",
                                      ChatTemplateOptions::kMaxParts, " parts, the limit"));
  }
  size_t index = 0;
  for (const JsonView part : parts.Elements()) {
    VL2_RETURN_IF_ERROR(ParsePart(part, Cat(path, "[", index++, "]"), message));
  }
  return absl::OkStatus();
}

absl::Status MessageParser::ParsePart(JsonView json, const std::string& path,
                                      ChatMessage& message) {
  VL2_ASSIGN_OR_RETURN(const RequestFields part, FieldsOf(json, path));
  const auto type = part.Find("type");
  if (type && type->IsString("text")) {
    const auto text = part.Find("text");
    if (!text) return ParamError(part.PathOf("text"), Cat(part.PathOf("text"), " is missing"));
    return AddText(*text, part.PathOf("text"), message);
  }
  if (!type || !type->IsString("image_url")) {
    return ParamError(part.PathOf("type"),
                      Cat(part.PathOf("type"), " must be \"text\" or \"image_url\""),
                      "unsupported_content");
  }
  if (message.role != ChatRole::kUser) {
    return ParamError(path, Cat(path, ": pictures stand in user messages only"));
  }
  if (request_.task.images.size() >= TaskLimits::kMaxImages) {
    return ParamError(path, Cat("more than ", TaskLimits::kMaxImages, " pictures"));
  }
  VL2_RETURN_IF_ERROR(ParseImage(part));
  message.parts.push_back(ContentPart::Image());
  return absl::OkStatus();
}

absl::Status MessageParser::AddText(JsonView text, const std::string& path, ChatMessage& message) {
  if (!text.is_string()) return WrongType(path, "a string", text);
  constexpr size_t kMaxTextBytes = EncodeOptions::kDefaultMaxTextBytes;
  num_text_bytes_ += text.String().size();
  if (num_text_bytes_ > kMaxTextBytes) {
    return ParamError("messages", Cat("the messages have more than ", kMaxTextBytes,
                                      " bytes of text, the limit"));
  }
  message.parts.push_back(ContentPart::Text(std::string(text.String())));
  return absl::OkStatus();
}

absl::StatusOr<TilingChoice> ParseTiling(JsonView json, const std::string& path) {
  VL2_ASSIGN_OR_RETURN(const RequestFields fields, FieldsOf(json, path));
  TilingChoice tiling;
  const bool wide = fields.Find("tiles_wide").has_value();
  const bool high = fields.Find("tiles_high").has_value();
  if (fields.Find("max_tiles")) {
    if (wide || high) {
      return ParamError(path, Cat(path, " has max_tiles and exact tiles; give one of them"));
    }
    tiling.kind = TilingChoice::Kind::kMaxTiles;
    VL2_RETURN_IF_ERROR(fields.Read(kMaxTilesRange, &tiling.max_tiles));
    return tiling;
  }
  if (!wide || !high) {
    return ParamError(path, Cat(path, " needs max_tiles, or tiles_wide and tiles_high"));
  }
  tiling.kind = TilingChoice::Kind::kFixed;
  VL2_RETURN_IF_ERROR(fields.Read(kTilesWideRange, &tiling.tiles_wide));
  VL2_RETURN_IF_ERROR(fields.Read(kTilesHighRange, &tiling.tiles_high));
  if (tiling.tiles_wide * tiling.tiles_high > TaskLimits::kMaxTiles) {
    return ParamError(path, Cat(path, " has ", tiling.tiles_wide, " by ", tiling.tiles_high,
                                " tiles, the limit is ", TaskLimits::kMaxTiles));
  }
  return tiling;
}

// `tiling` and `policy`, which may stand beside image_url's url or in the part itself.
absl::Status ParseImageExtensions(const RequestFields& fields, TaskImage& image) {
  if (const auto tiling = fields.Find("tiling")) {
    VL2_ASSIGN_OR_RETURN(image.tiling, ParseTiling(*tiling, fields.PathOf("tiling")));
  }
  const auto policy = fields.Find("policy");
  if (!policy) return absl::OkStatus();
  if (!policy->IsString("serving") && !policy->IsString("published")) {
    return ParamError(fields.PathOf("policy"),
                      Cat(fields.PathOf("policy"), " must be \"serving\" or \"published\""));
  }
  image.policy = policy->IsString("published") ? ImagePolicy::kPublished : ImagePolicy::kServing;
  return absl::OkStatus();
}

absl::Status ParseDetail(const RequestFields& fields, TaskImage& image) {
  const auto detail = fields.Find("detail");
  if (!detail || detail->IsString("auto") || detail->IsString("high")) return absl::OkStatus();
  if (!detail->IsString("low")) {
    return ParamError(fields.PathOf("detail"),
                      Cat(fields.PathOf("detail"), " must be \"low\", \"high\" or \"auto\""));
  }
  image.tiling.kind = TilingChoice::Kind::kSingleTile;
  return absl::OkStatus();
}

absl::Status MessageParser::ParseImage(const RequestFields& part) {
  const std::string path = part.PathOf("image_url");
  const std::string url_path = path + ".url";
  const auto found = part.Find("image_url");
  if (!found) return ParamError(path, Cat(path, " is missing"));
  TaskImage image;
  std::optional<JsonView> url = found;
  if (found->is_object()) {
    const RequestFields fields(*found, path);
    url = fields.Find("url");
    if (!url) return ParamError(url_path, Cat(url_path, " is missing"));
    VL2_RETURN_IF_ERROR(ParseDetail(fields, image));
    VL2_RETURN_IF_ERROR(ParseImageExtensions(fields, image));
    if (!url->is_string()) return WrongType(url_path, "a string", *url);
  } else if (!found->is_string()) {
    return WrongType(path, "an object or a string", *found);
  }
  VL2_RETURN_IF_ERROR(ParseImageExtensions(part, image));
  VL2_RETURN_IF_ERROR(ParseUrl(url->String(), url_path, image));
  request_.task.images.push_back(std::move(image));
  return absl::OkStatus();
}

absl::Status MessageParser::ParseUrl(std::string_view url, const std::string& path,
                                     TaskImage& image) {
  switch (SchemeOf(url)) {
    case UrlScheme::kData: {
      auto bytes = DecodeDataUri(url);
      if (bytes.ok() && bytes->empty()) bytes = InvalidArgument("0 bytes");
      if (!bytes.ok()) {
        return ParamError(path, Cat(path, ": ", Message(bytes.status())), "invalid_image_url");
      }
      image.bytes = std::make_shared<const std::string>(*std::move(bytes));
      return absl::OkStatus();
    }
    case UrlScheme::kHttp:
      if (!fetch_images_) {
        return ParamError(path,
                          Cat(path,
                              " is an http(s) address; this server fetches nothing, send the "
                              "picture itself as data:image/...;base64,..."),
                          "unsupported_image_url");
      }
      request_.remote_images.push_back({request_.task.images.size(), CleanUrl(url), path});
      return absl::OkStatus();
    case UrlScheme::kOther:
      break;
  }
  return ParamError(path, Cat(path, " must be a data:image/...;base64,... address"),
                    "invalid_image_url");
}

}  // namespace

absl::Status ParseMessages(JsonView messages, bool fetch_images, ChatRequest& request) {
  if (!messages.is_array() || messages.size() == 0) {
    return ParamError("messages", "messages must be an array of at least one message");
  }
  if (messages.size() > ChatTemplateOptions::kMaxMessages) {
    return ParamError("messages", Cat("messages has ", messages.size(), " entries, the limit is ",
                                      ChatTemplateOptions::kMaxMessages));
  }
  MessageParser parser(fetch_images, request);
  size_t index = 0;
  for (const JsonView message : messages.Elements()) {
    VL2_RETURN_IF_ERROR(parser.ParseMessage(message, Cat("messages[", index++, "]")));
  }
  return absl::OkStatus();
}

}  // namespace vl2::gateway
