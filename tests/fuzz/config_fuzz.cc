// Any bytes as config.json and processor_config.json: an error, or a configuration whose tensors
// can be listed without overflow.
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/json.h"
#include "runtime/checkpoint/config.h"
#include "runtime/checkpoint/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = vl2::ParseJson(text);
  if (!json.ok()) return 0;
  (void)vl2::ParseProcessorConfig(*json, "fuzz");
  const auto config = vl2::ParseModelConfig(*json, "fuzz");
  if (!config.ok()) return 0;
  // Large numbers of layers and experts make long lists, no faults: left out for speed.
  const vl2::LanguageConfig& language = config->language_config;
  if (language.num_hidden_layers * language.n_routed_experts.value_or(1) > 1000) return 0;
  for (const vl2::TensorSpec& spec : vl2::ExpectedTensors(*config)) {
    VL2_CHECK(spec.shape.num_elements() > 0) << spec.name << " " << spec.shape;
  }
  VL2_CHECK(language.qk_head_dim() > 0 && config->tile_side() > 0);
  return 0;
}
