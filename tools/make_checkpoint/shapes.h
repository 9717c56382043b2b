// Configurations of the published shapes, as JSON laid out like the published config.json and
// processor_config.json.
//
// Sizes: the published Base file; Tiny and Small from the sizes of the same decoders in public use
// (DeepSeek-OCR's 3B, DeepSeek-V2-Lite), see docs/model.md.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/base/json.h"

namespace vl2 {

// "tiny", "small" or "base".
absl::StatusOr<Json> PublishedShape(std::string_view name);

// The processor_config.json that goes with a config.json.
Json MakeProcessorConfig(const Json& config);

}  // namespace vl2
