#include "client/event_json.h"

#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2::client {
namespace {

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Json BoxesJson(const v1::BoxGroup& group) {
  Json boxes = Json::array();
  for (const v1::Box& box : group.boxes()) {
    boxes.push_back({{"x1", box.x1()},
                     {"y1", box.y1()},
                     {"x2", box.x2()},
                     {"y2", box.y2()},
                     {"left", box.left()},
                     {"top", box.top()},
                     {"right", box.right()},
                     {"bottom", box.bottom()}});
  }
  return {{"event", "boxes"},
          {"sample", group.sample()},
          {"label", group.label()},
          {"image_index", group.image_index()},
          {"boxes", std::move(boxes)}};
}

Json ProgressJson(const v1::ChatProgress& progress) {
  return {{"event", "progress"},
          {"encoded_tiles", progress.encoded_tiles()},
          {"num_tiles", progress.num_tiles()},
          {"prefilled_tokens", progress.prefilled_tokens()},
          {"prompt_tokens", progress.prompt_tokens()}};
}

Json EndJson(const v1::ChatEnd& end) {
  const v1::ChatTimings& timings = end.timings();
  return {{"event", "end"},
          {"prompt_tokens", end.prompt_tokens()},
          {"cached_tokens", end.cached_tokens()},
          {"generated_tokens", end.generated_tokens()},
          {"image_tiles", end.image_tiles()},
          {"reused_image_tiles", end.reused_image_tiles()},
          {"timings",
           {{"first_token_ms", timings.first_token_ms()},
            {"total_ms", timings.total_ms()},
            {"encode_ms", timings.encode_ms()},
            {"prefill_ms", timings.prefill_ms()}}}};
}

template <typename Map>
Json CountsJson(const Map& counts) {
  Json json = Json::object();
  for (const auto& [name, value] : counts) json[name] = value;
  return json;
}

Json ReplicaJson(const v1::ReplicaInfo& replica) {
  Json json = {{"address", replica.address()},
               {"healthy", replica.healthy()},
               {"outstanding_calls", replica.outstanding_calls()}};
  if (!replica.failure().empty()) json["failure"] = replica.failure();
  if (!replica.has_info()) return json;
  const v1::ModelInfo& info = replica.info();
  json["model_id"] = info.model_id();
  json["model_name"] = info.model_name();
  json["weight_dtype"] = info.weight_dtype();
  json["device"] = info.device();
  json["hidden_size"] = info.hidden_size();
  json["limits"] = CountsJson(info.limits());
  json["load"] = CountsJson(info.load());
  return json;
}

}  // namespace

std::string EventJson(const v1::ChatEvent& event) {
  switch (event.event_case()) {
    case v1::ChatEvent::kProgress:
      return Dump(ProgressJson(event.progress()));
    case v1::ChatEvent::kText:
      return Dump(
          {{"event", "text"}, {"sample", event.text().sample()}, {"text", event.text().text()}});
    case v1::ChatEvent::kBoxes:
      return Dump(BoxesJson(event.boxes()));
    case v1::ChatEvent::kSampleEnd:
      return Dump({{"event", "sample_end"},
                   {"sample", event.sample_end().sample()},
                   {"reason",
                    event.sample_end().reason() == v1::FINISH_REASON_LENGTH ? "length" : "stop"}});
    case v1::ChatEvent::kEnd:
      return Dump(EndJson(event.end()));
    case v1::ChatEvent::EVENT_NOT_SET:
      break;
  }
  return "";
}

std::string ErrorJson(const absl::Status& status) {
  return Dump({{"event", "error"},
               {"code", absl::StatusCodeToString(status.code())},
               {"message", Message(status)}});
}

std::string ClusterJson(const v1::ClusterInfo& cluster) {
  Json json = {{"ready", cluster.ready()},
               {"model_name", cluster.model_name()},
               {"model_id", cluster.model_id()},
               {"max_context_tokens", cluster.max_context_tokens()},
               {"limits", CountsJson(cluster.limits())},
               {"language", Json::array()},
               {"vision", Json::array()}};
  if (!cluster.ready()) json["not_ready_reason"] = cluster.not_ready_reason();
  for (const auto& replica : cluster.language()) json["language"].push_back(ReplicaJson(replica));
  for (const auto& replica : cluster.vision()) json["vision"].push_back(ReplicaJson(replica));
  return Dump(json);
}

}  // namespace vl2::client
