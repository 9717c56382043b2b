#include "gateway/service/wire.h"

#include <memory>
#include <utility>

#include "runtime/base/status.h"

namespace vl2::gateway {
namespace {

SamplingChoice SamplingOf(const v1::SamplingParams& from, const SamplingChoice& defaults) {
  SamplingChoice to = defaults;
  if (from.has_temperature()) to.temperature = from.temperature();
  if (from.has_top_p()) to.top_p = from.top_p();
  if (from.has_top_k()) to.top_k = from.top_k();
  if (from.has_min_p()) to.min_p = from.min_p();
  if (from.has_repetition_penalty()) to.repetition_penalty = from.repetition_penalty();
  if (from.has_presence_penalty()) to.presence_penalty = from.presence_penalty();
  if (from.has_frequency_penalty()) to.frequency_penalty = from.frequency_penalty();
  for (const auto& [id, bias] : from.logit_bias()) to.logit_bias[id] = bias;
  to.seed = from.seed();
  to.logprobs = from.logprobs();
  to.top_logprobs = from.top_logprobs();
  return to;
}

TilingChoice TilingOf(const v1::Tiling& from) {
  using Kind = TilingChoice::Kind;
  TilingChoice to;
  switch (from.mode_case()) {
    case v1::Tiling::kBestOfAll:
      to.kind = from.best_of_all() ? Kind::kBestOfAll : Kind::kSingleTile;
      break;
    case v1::Tiling::kMaxTiles:
      to.kind = Kind::kMaxTiles;
      to.max_tiles = from.max_tiles();
      break;
    case v1::Tiling::kFixed:
      to.kind = Kind::kFixed;
      to.tiles_wide = from.fixed().tiles_wide();
      to.tiles_high = from.fixed().tiles_high();
      break;
    case v1::Tiling::MODE_NOT_SET:
      break;
  }
  return to;
}

absl::StatusOr<ChatRole> RoleOf(v1::Message::Role role, const std::string& where) {
  switch (role) {
    case v1::Message::ROLE_SYSTEM:
      return ChatRole::kSystem;
    case v1::Message::ROLE_USER:
      return ChatRole::kUser;
    case v1::Message::ROLE_ASSISTANT:
      return ChatRole::kAssistant;
    default:
      return ParamError(where, Cat(where, ".role is ", static_cast<int>(role), ", not a role"));
  }
}

absl::Status AddMessage(const v1::Message& from, const std::string& where, ChatTask& task) {
  ChatMessage message;
  VL2_ASSIGN_OR_RETURN(message.role, RoleOf(from.role(), where));
  for (int i = 0; i < from.parts_size(); ++i) {
    const v1::Part& part = from.parts(i);
    if (part.has_text()) {
      message.parts.push_back(ContentPart::Text(part.text()));
    } else if (part.has_image()) {
      TaskImage image;
      image.bytes = std::make_shared<const std::string>(part.image().data());
      image.policy = part.image().policy() == v1::IMAGE_POLICY_PUBLISHED ? ImagePolicy::kPublished
                                                                         : ImagePolicy::kServing;
      image.tiling = TilingOf(part.image().tiling());
      task.images.push_back(std::move(image));
      message.parts.push_back(ContentPart::Image());
    } else {
      return ParamError(where, Cat(where, ".parts[", i, "] is empty"));
    }
  }
  task.messages.push_back(std::move(message));
  return absl::OkStatus();
}

void FillBoxes(const BoxesFound& from, v1::BoxGroup& to) {
  to.set_sample(from.sample);
  to.set_label(from.label);
  to.set_image_index(from.image_index);
  for (const GroundingBox& box : from.boxes) {
    const PixelBox pixels = ToPixels(box, from.image_width, from.image_height);
    v1::Box& wire = *to.add_boxes();
    wire.set_x1(box.x1);
    wire.set_y1(box.y1);
    wire.set_x2(box.x2);
    wire.set_y2(box.y2);
    wire.set_left(pixels.x1);
    wire.set_top(pixels.y1);
    wire.set_right(pixels.x2);
    wire.set_bottom(pixels.y2);
  }
}

void FillText(const TextDelta& from, v1::TextDelta& to) {
  to.set_sample(from.sample);
  to.set_text(from.text);
  for (const AnswerToken& token : from.tokens) {
    v1::Token& wire = *to.add_tokens();
    wire.set_id(token.id);
    wire.set_logprob(token.logprob);
    for (const TokenChoice& choice : token.top) {
      v1::TokenLogprob& top = *wire.add_top_logprobs();
      top.set_id(choice.id);
      top.set_logprob(choice.logprob);
    }
  }
}

}  // namespace

absl::StatusOr<ChatTask> TaskOf(const v1::ChatRequest& request, const SamplingChoice& defaults) {
  ChatTask task;
  for (int i = 0; i < request.messages_size(); ++i) {
    VL2_RETURN_IF_ERROR(AddMessage(request.messages(i), Cat("messages[", i, "]"), task));
  }
  task.sampling = SamplingOf(request.sampling(), defaults);
  task.max_new_tokens = request.max_new_tokens();
  task.stop.assign(request.stop().begin(), request.stop().end());
  task.stop_token_ids.assign(request.stop_token_ids().begin(), request.stop_token_ids().end());
  task.num_samples = request.num_samples() == 0 ? 1 : request.num_samples();
  task.grounding_control = !request.grounding_tokens_are_text();
  task.ignore_end_token = request.ignore_end_token();
  task.request_id = request.request_id();
  task.cache_salt = request.cache_salt();
  VL2_RETURN_IF_ERROR(ValidateTask(task));
  return task;
}

std::optional<v1::ChatEvent> ToWire(const ChatEvent& event) {
  v1::ChatEvent wire;
  if (const auto* text = std::get_if<TextDelta>(&event)) {
    FillText(*text, *wire.mutable_text());
  } else if (const auto* boxes = std::get_if<BoxesFound>(&event)) {
    FillBoxes(*boxes, *wire.mutable_boxes());
  } else if (const auto* progress = std::get_if<ChatProgress>(&event)) {
    v1::ChatProgress& to = *wire.mutable_progress();
    to.set_encoded_tiles(progress->encoded_tiles);
    to.set_num_tiles(progress->num_tiles);
    to.set_prefilled_tokens(progress->prefilled_tokens);
    to.set_prompt_tokens(progress->prompt_tokens);
  } else if (const auto* ended = std::get_if<SampleEnd>(&event)) {
    wire.mutable_sample_end()->set_sample(ended->sample);
    wire.mutable_sample_end()->set_reason(
        ended->reason == FinishReason::kLength ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_STOP);
  } else if (const auto* end = std::get_if<ChatEnd>(&event)) {
    v1::ChatEnd& to = *wire.mutable_end();
    to.set_prompt_tokens(end->prompt_tokens);
    to.set_cached_tokens(end->cached_tokens);
    to.set_generated_tokens(end->generated_tokens);
    to.set_image_tiles(end->num_tiles);
    to.set_reused_image_tiles(end->num_reused_tiles);
    v1::ChatTimings& timings = *to.mutable_timings();
    timings.set_first_token_ms(end->first_token_ms);
    timings.set_total_ms(end->total_ms);
    timings.set_encode_ms(end->encode_ms);
    timings.set_prefill_ms(end->prefill_ms);
  } else {
    return std::nullopt;
  }
  return wire;
}

}  // namespace vl2::gateway
