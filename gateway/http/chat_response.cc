#include "gateway/http/chat_response.h"

#include <utility>
#include <variant>

#include "runtime/base/error_details.h"
#include "runtime/base/status.h"
#include "text/utf8.h"

namespace vl2::gateway {
namespace {

// `token`, `bytes` and `logprob` of one candidate.
Json TokenJson(const Tokenizer& tokenizer, int32_t id, float logprob) {
  const std::string_view bytes = tokenizer.TokenBytes(id);
  std::string text;
  AppendRepairedUtf8(bytes, text);
  Json values = Json::array();
  for (const char byte : bytes) values.push_back(static_cast<unsigned char>(byte));
  return {{"token", std::move(text)}, {"logprob", logprob}, {"bytes", std::move(values)}};
}

Json TokensJson(const Tokenizer& tokenizer, const std::vector<AnswerToken>& tokens) {
  Json list = Json::array();
  for (const AnswerToken& token : tokens) {
    Json entry = TokenJson(tokenizer, token.id, token.logprob);
    // The bytes of all tokens, joined, are the text; a special token is not part of it.
    if (tokenizer.IsSkipped(token.id, SkipSpecial::kAllButGrounding)) {
      entry["bytes"] = Json::array();
    }
    Json top = Json::array();
    for (const TokenChoice& choice : token.top) {
      top.push_back(TokenJson(tokenizer, choice.id, choice.logprob));
    }
    entry["top_logprobs"] = std::move(top);
    list.push_back(std::move(entry));
  }
  return list;
}

Json BoxesJson(const BoxesFound& found) {
  Json boxes = Json::array();
  for (const GroundingBox& box : found.boxes) {
    const PixelBox pixels = ToPixels(box, found.image_width, found.image_height);
    boxes.push_back({{"x1", box.x1},
                     {"y1", box.y1},
                     {"x2", box.x2},
                     {"y2", box.y2},
                     {"left", pixels.x1},
                     {"top", pixels.y1},
                     {"right", pixels.x2},
                     {"bottom", pixels.y2}});
  }
  return {{"label", found.label}, {"image_index", found.image_index}, {"boxes", std::move(boxes)}};
}

Json UsageJson(const ChatEnd& end) {
  return {{"prompt_tokens", end.prompt_tokens},
          {"completion_tokens", end.generated_tokens},
          {"total_tokens", end.prompt_tokens + end.generated_tokens},
          {"prompt_tokens_details",
           {{"cached_tokens", end.cached_tokens},
            {"image_tiles", end.num_tiles},
            {"reused_image_tiles", end.num_reused_tiles}}}};
}

Json TimingsJson(const ChatEnd& end) {
  return {{"first_token_ms", end.first_token_ms},
          {"total_ms", end.total_ms},
          {"encode_ms", end.encode_ms},
          {"image_tiles", end.num_tiles},
          {"reused_image_tiles", end.num_reused_tiles},
          {"prefill_ms", end.prefill_ms}};
}

const char* ReasonText(FinishReason reason) {
  return reason == FinishReason::kLength ? "length" : "stop";
}

Json Identity(const AnswerIdentity& identity, const char* object) {
  return {{"id", identity.id},
          {"object", object},
          {"created", identity.created},
          {"model", identity.model}};
}

const char* ErrorType(int http_status) {
  switch (http_status) {
    case 401:
    case 403:
      return "authentication_error";
    case 429:
      return "rate_limit_error";
    default:
      return http_status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

int HttpStatusOf(const absl::Status& status) {
  if (ReasonOf(status) == "model_not_found") return 404;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kFailedPrecondition:  // the services do not fit together
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string ErrorBody(const absl::Status& status) {
  const std::string param = ParamOf(status);
  Json error = {{"message", Message(status)},
                {"type", ErrorType(HttpStatusOf(status))},
                {"param", nullptr},
                {"code", ReasonOf(status)}};
  if (!param.empty()) error["param"] = param;
  return Dump({{"error", std::move(error)}});
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string SseEvent(std::string_view data) { return Cat("data: ", data, "\n\n"); }

StreamFormatter::StreamFormatter(AnswerIdentity identity, const Tokenizer* tokenizer,
                                 const ChatTask& task, bool include_usage)
    : identity_(std::move(identity)),
      tokenizer_(tokenizer),
      num_samples_(task.num_samples),
      logprobs_(task.sampling.logprobs),
      include_usage_(include_usage) {}

Json StreamFormatter::Chunk() const {
  Json chunk = Identity(identity_, "chat.completion.chunk");
  if (include_usage_) chunk["usage"] = nullptr;
  return chunk;
}

std::string StreamFormatter::Delta(int sample, Json delta, Json logprobs,
                                   Json finish_reason) const {
  Json chunk = Chunk();
  chunk["choices"] = Json::array({{{"index", sample},
                                   {"delta", std::move(delta)},
                                   {"logprobs", std::move(logprobs)},
                                   {"finish_reason", std::move(finish_reason)}}});
  return SseEvent(Dump(chunk));
}

std::string StreamFormatter::Begin() const {
  std::string events;
  for (int i = 0; i < num_samples_; ++i) {
    events += Delta(i, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
  }
  return events;
}

std::string StreamFormatter::Format(const ChatEvent& event) const {
  if (const auto* text = std::get_if<TextDelta>(&event)) {
    Json logprobs = nullptr;
    if (logprobs_) logprobs = {{"content", TokensJson(*tokenizer_, text->tokens)}};
    return Delta(text->sample, {{"content", text->text}}, std::move(logprobs), nullptr);
  }
  if (const auto* found = std::get_if<BoxesFound>(&event)) {
    return Delta(found->sample, {{"boxes", Json::array({BoxesJson(*found)})}}, nullptr, nullptr);
  }
  if (const auto* end = std::get_if<SampleEnd>(&event)) {
    return Delta(end->sample, Json::object(), nullptr, ReasonText(end->reason));
  }
  if (const auto* end = std::get_if<ChatEnd>(&event)) {
    if (!end->status.ok()) return SseEvent(ErrorBody(end->status));
    if (!include_usage_) return std::string(kSseDone);
    Json chunk = Chunk();
    chunk["choices"] = Json::array();
    chunk["usage"] = UsageJson(*end);
    chunk["timings"] = TimingsJson(*end);
    return SseEvent(Dump(chunk)) + std::string(kSseDone);
  }
  return {};
}

WholeAnswer::WholeAnswer(AnswerIdentity identity, const Tokenizer* tokenizer, const ChatTask& task)
    : identity_(std::move(identity)),
      tokenizer_(tokenizer),
      logprobs_(task.sampling.logprobs),
      samples_(task.num_samples) {}

void WholeAnswer::Add(const ChatEvent& event) {
  if (const auto* text = std::get_if<TextDelta>(&event)) {
    Sample& sample = samples_.at(text->sample);
    sample.text += text->text;
    if (logprobs_) {
      for (Json& token : TokensJson(*tokenizer_, text->tokens)) {
        sample.tokens.push_back(std::move(token));
      }
    }
  } else if (const auto* found = std::get_if<BoxesFound>(&event)) {
    samples_.at(found->sample).boxes.push_back(BoxesJson(*found));
  } else if (const auto* ended = std::get_if<SampleEnd>(&event)) {
    samples_.at(ended->sample).reason = ended->reason;
  } else if (const auto* end = std::get_if<ChatEnd>(&event)) {
    end_ = *end;
  }
}

std::string WholeAnswer::Body() const {
  if (!end_.status.ok()) return ErrorBody(end_.status);
  Json choices = Json::array();
  for (size_t i = 0; i < samples_.size(); ++i) {
    const Sample& sample = samples_[i];
    Json message = {{"role", "assistant"}, {"content", sample.text}, {"refusal", nullptr}};
    if (!sample.boxes.empty()) message["boxes"] = sample.boxes;
    Json logprobs = nullptr;
    if (logprobs_) logprobs = {{"content", sample.tokens}};
    choices.push_back({{"index", i},
                       {"message", std::move(message)},
                       {"logprobs", std::move(logprobs)},
                       {"finish_reason", ReasonText(sample.reason)}});
  }
  Json body = Identity(identity_, "chat.completion");
  body["choices"] = std::move(choices);
  body["usage"] = UsageJson(end_);
  body["timings"] = TimingsJson(end_);
  return Dump(body);
}

}  // namespace vl2::gateway
