// The rotary settings of config.json, in either spelling: the published files' rope_theta and
// rope_scaling, or rope_parameters, which transformers 5 writes in their place.
//
// What both say must agree; what neither this model nor this project knows is refused, because a
// setting passed over would give other answers without a word. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/json.h"

namespace vl2 {

struct RopeScaling {
  enum class Type { kLinear, kDynamic, kYarn };
  Type type = Type::kYarn;
  double factor = 1;
  // kYarn only.
  int64_t original_max_position_embeddings = 4096;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;

  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

struct RopeConfig {
  double theta = 10000;
  std::optional<RopeScaling> scaling;
};

// `fields`: language_config. Keys inside rope_scaling and rope_parameters that are not known are
// added to `unknown_keys`, with their path.
absl::StatusOr<RopeConfig> ParseRope(const JsonFields& fields,
                                     std::vector<std::string>& unknown_keys);

}  // namespace vl2
