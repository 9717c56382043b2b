#include "runtime/checkpoint/rope_config.h"

#include <algorithm>
#include <string_view>

#include "runtime/base/status.h"

namespace vl2 {
namespace {

constexpr int64_t kMaxContext = 1 << 20;

// The type under its new name, or its old one; empty: neither is there.
absl::StatusOr<std::string> ParseType(const JsonFields& fields) {
  VL2_ASSIGN_OR_RETURN(const std::string old_name, fields.String("type", ""));
  VL2_ASSIGN_OR_RETURN(const std::string new_name, fields.String("rope_type", ""));
  if (!old_name.empty() && !new_name.empty() && old_name != new_name) {
    return InvalidArgument(fields.context(), ": type \"", old_name, "\" contradicts rope_type \"",
                           new_name, "\"");
  }
  return new_name.empty() ? old_name : new_name;
}

absl::Status RefuseUnsupported(const JsonFields& fields) {
  // Replaces the factor that this model takes from mscale and mscale_all_dim.
  if (fields.Has("attention_factor")) {
    return InvalidArgument(fields.context(), ".attention_factor is not supported");
  }
  VL2_ASSIGN_OR_RETURN(const double part, fields.Double("partial_rotary_factor", 1, 0, 1));
  if (part != 1) {
    return InvalidArgument(fields.context(), ".partial_rotary_factor: ", part,
                           " is not supported, only 1");
  }
  VL2_ASSIGN_OR_RETURN(const bool truncate, fields.Bool("truncate", true));
  if (!truncate) return InvalidArgument(fields.context(), ".truncate: false is not supported");
  return absl::OkStatus();
}

absl::Status FillYarn(const JsonFields& fields, RopeScaling& scaling) {
  VL2_ASSIGN_OR_RETURN(scaling.original_max_position_embeddings,
                       fields.Int("original_max_position_embeddings",
                                  scaling.original_max_position_embeddings, 1, kMaxContext));
  VL2_ASSIGN_OR_RETURN(scaling.beta_fast, fields.Double("beta_fast", 32, 1e-6, 1e6));
  VL2_ASSIGN_OR_RETURN(scaling.beta_slow, fields.Double("beta_slow", 1, 1e-6, 1e6));
  VL2_ASSIGN_OR_RETURN(scaling.mscale, fields.Double("mscale", 1, 0, 1e3));
  VL2_ASSIGN_OR_RETURN(scaling.mscale_all_dim, fields.Double("mscale_all_dim", 0, 0, 1e3));
  return absl::OkStatus();
}

void NoteUnknownKeys(const Json& json, const std::string& context,
                     std::vector<std::string>& unknown_keys) {
  constexpr std::string_view kKnown[] = {"type",
                                         "rope_type",
                                         "rope_theta",
                                         "factor",
                                         "original_max_position_embeddings",
                                         "beta_fast",
                                         "beta_slow",
                                         "mscale",
                                         "mscale_all_dim",
                                         "attention_factor",
                                         "partial_rotary_factor",
                                         "truncate"};
  for (const auto& [key, value] : json.items()) {
    if (std::find(std::begin(kKnown), std::end(kKnown), key) != std::end(kKnown)) continue;
    unknown_keys.push_back(context + "." + key);
  }
}

// One of the two objects; nothing for a type that does not scale.
absl::StatusOr<std::optional<RopeScaling>> ParseScaling(const JsonFields& fields) {
  VL2_ASSIGN_OR_RETURN(const std::string type, ParseType(fields));
  VL2_RETURN_IF_ERROR(RefuseUnsupported(fields));
  // Settings without a type are transformers 5's plain form, unless they scale.
  if (type.empty() && (fields.Has("factor") || !fields.Has("rope_theta"))) {
    return InvalidArgument(fields.context(), ": rope_type is missing");
  }
  if (type.empty() || type == "default") return std::optional<RopeScaling>();
  RopeScaling scaling;
  if (type == "linear") {
    scaling.type = RopeScaling::Type::kLinear;
  } else if (type == "dynamic") {
    scaling.type = RopeScaling::Type::kDynamic;
  } else if (type != "yarn") {
    return InvalidArgument(fields.context(), ".type: \"", type,
                           "\" is not one of linear, dynamic, yarn");
  }
  VL2_ASSIGN_OR_RETURN(scaling.factor, fields.Double("factor", std::nullopt, 1e-3, 1e6));
  if (type == "yarn") VL2_RETURN_IF_ERROR(FillYarn(fields, scaling));
  return std::optional(scaling);
}

// An object of rotary settings under `key`; nullptr: there is none.
absl::StatusOr<const Json*> FindSettings(const JsonFields& parent, const char* key) {
  const Json* json = parent.Find(key);
  if (json == nullptr) return nullptr;
  if (!json->is_object()) {
    return InvalidArgument(parent.context(), ".", key, ": expected an object");
  }
  for (const auto& [name, value] : json->items()) {
    if (!value.is_object()) continue;
    return InvalidArgument(parent.context(), ".", key, ".", name,
                           ": settings by kind of layer are not supported, one for all is");
  }
  return json;
}

}  // namespace

absl::StatusOr<RopeConfig> ParseRope(const JsonFields& fields,
                                     std::vector<std::string>& unknown_keys) {
  RopeConfig config;
  VL2_ASSIGN_OR_RETURN(config.theta, fields.Double("rope_theta", config.theta, 1 + 1e-6, 1e12));
  VL2_ASSIGN_OR_RETURN(const Json* const scaling, FindSettings(fields, "rope_scaling"));
  if (scaling != nullptr) {
    const std::string context = fields.context() + ".rope_scaling";
    VL2_ASSIGN_OR_RETURN(config.scaling, ParseScaling(JsonFields(*scaling, context)));
    NoteUnknownKeys(*scaling, context, unknown_keys);
  }
  VL2_ASSIGN_OR_RETURN(const Json* const json, FindSettings(fields, "rope_parameters"));
  if (json == nullptr) return config;

  const std::string context = fields.context() + ".rope_parameters";
  const JsonFields parameters(*json, context);
  VL2_ASSIGN_OR_RETURN(const double theta,
                       parameters.Double("rope_theta", config.theta, 1 + 1e-6, 1e12));
  if (theta != config.theta && fields.Has("rope_theta")) {
    return InvalidArgument(context, ".rope_theta: ", theta, " contradicts rope_theta ",
                           config.theta);
  }
  VL2_ASSIGN_OR_RETURN(const std::optional<RopeScaling> parsed, ParseScaling(parameters));
  if (scaling != nullptr && parsed != config.scaling) {
    return InvalidArgument(context, ": ", json->dump(), " contradicts rope_scaling ",
                           scaling->dump());
  }
  NoteUnknownKeys(*json, context, unknown_keys);
  config.theta = theta;
  config.scaling = parsed;
  return config;
}

}  // namespace vl2
