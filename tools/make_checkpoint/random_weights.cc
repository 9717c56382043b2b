#include "tools/make_checkpoint/random_weights.h"

#include <cmath>
#include <string_view>

namespace vl2 {
namespace {

// The finaliser of SplitMix64: a bijection that mixes every bit into every other.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

uint64_t StreamOf(uint64_t seed, std::string_view tensor_name) {
  uint64_t hash = Mix(seed);
  for (const char c : tensor_name) hash = Mix(hash ^ static_cast<unsigned char>(c));
  return hash;
}

WeightDistribution DistributionOf(const TensorSpec& spec, const ModelConfig& config) {
  const std::string_view name = spec.name;
  const LanguageConfig& language = config.language_config;
  if (name.ends_with(".bias") || name.ends_with("correction_bias")) return {0, 0.02f};
  if (Contains(name, "norm")) return {1, 0.05f};
  if (name == "image_newline" || name == "view_seperator") return {0, 1};
  if (name.ends_with("embed_tokens.weight")) return {0, 1};
  if (name == "vision.pos_embed") return {0, 0.3f};
  // A product of `in` terms of variance one keeps its scale with stddev 1/√in. What is added to the
  // residual stream is made smaller, by the number of additions.
  const int64_t in = spec.shape.num_elements() / spec.shape[0];
  float gain = 1;
  if (name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight")) {
    gain = 1 / std::sqrt(2 * static_cast<float>(language.num_hidden_layers));
  } else if (name.ends_with("attn.proj.weight") || name.ends_with("mlp.fc2.weight")) {
    gain = 1 / std::sqrt(2 * static_cast<float>(config.vision_config.layers));
  } else if (name.ends_with("lm_head.weight")) {
    gain = 2;
  }
  return {0, gain / std::sqrt(static_cast<float>(in))};
}

void FillRandom(uint64_t stream, int64_t first, WeightDistribution distribution,
                std::span<float> out) {
  // The sum of four 16-bit uniform numbers: near enough to normal, one mix per value.
  constexpr float kCentre = 2 * 65535.0f;
  const float scale = distribution.stddev / (65535.0f * std::sqrt(4.0f / 12.0f));
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t bits = Mix(stream + static_cast<uint64_t>(first) + i);
    const auto sum = static_cast<float>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                        (bits >> 32 & 0xffff) + (bits >> 48));
    out[i] = distribution.mean + scale * (sum - kCentre);
  }
}

}  // namespace vl2
