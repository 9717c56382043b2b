#include "lm_service/model/rotary_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace vl2 {
namespace {

// yarn_get_mscale
double YarnMscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// yarn_find_correction_dim: the pair whose wavelength makes `rotations` turns over the context.
double CorrectionDim(double rotations, const RopeScaling& scaling, double dim, double base) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  return dim * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
}

// base^(2i/dim) in float32.
float Power(double base, int64_t i, int64_t dim) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
  return static_cast<float>(
      std::pow(static_cast<double>(static_cast<float>(base)), static_cast<double>(exponent)));
}

std::vector<float> InverseFrequencies(const LanguageConfig& config) {
  const int64_t dim = config.rope_dim();
  std::vector<float> frequencies(static_cast<size_t>(dim / 2));
  const bool yarn = config.rope_scaling && config.rope_scaling->type == RopeScaling::Type::kYarn;
  if (!yarn) {
    for (int64_t i = 0; i < dim / 2; ++i) {
      frequencies[static_cast<size_t>(i)] = 1.0f / Power(config.rope_theta, i, dim);
    }
    return frequencies;
  }
  // Fast pairs keep their frequency, slow ones are divided by the factor, a ramp lies between.
  const RopeScaling& scaling = *config.rope_scaling;
  const auto width = static_cast<double>(dim);
  const double low = std::max(
      std::floor(CorrectionDim(scaling.beta_fast, scaling, width, config.rope_theta)), 0.0);
  double high = std::min(
      std::ceil(CorrectionDim(scaling.beta_slow, scaling, width, config.rope_theta)), width - 1);
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < dim / 2; ++i) {
    const float power = Power(config.rope_theta, i, dim);
    const float extra = 1.0f / power;
    const float inter = 1.0f / (static_cast<float>(scaling.factor) * power);
    const float ramp =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float mask = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    frequencies[static_cast<size_t>(i)] = inter * (1 - mask) + extra * mask;
  }
  return frequencies;
}

}  // namespace

RotaryTable MakeRotaryTable(const LanguageConfig& config, Ops& ops) {
  const std::vector<float> frequencies = InverseFrequencies(config);
  double scale = 1;          // of cos and sin
  float position_scale = 1;  // positions are divided by it
  if (config.rope_scaling) {
    const RopeScaling& scaling = *config.rope_scaling;
    if (scaling.type == RopeScaling::Type::kYarn) {
      scale = YarnMscale(scaling.factor, scaling.mscale) /
              YarnMscale(scaling.factor, scaling.mscale_all_dim);
    } else if (scaling.type == RopeScaling::Type::kLinear) {
      position_scale = static_cast<float>(scaling.factor);
    }
  }
  const Shape shape = {config.max_position_embeddings, static_cast<int64_t>(frequencies.size())};
  Tensor all_cos(DType::kF32, shape);
  Tensor all_sin(DType::kF32, shape);
  auto* next_cos = all_cos.data<float>();
  auto* next_sin = all_sin.data<float>();
  for (int64_t position = 0; position < config.max_position_embeddings; ++position) {
    const float t = static_cast<float>(position) / position_scale;
    for (const float frequency : frequencies) {
      const float angle = t * frequency;
      const auto cos = static_cast<float>(std::cos(static_cast<double>(angle)));
      const auto sin = static_cast<float>(std::sin(static_cast<double>(angle)));
      *next_cos++ = cos * static_cast<float>(scale);
      *next_sin++ = sin * static_cast<float>(scale);
    }
  }
  return {.dim = config.rope_dim(),
          .cos = ops.Upload(all_cos.view()),
          .sin = ops.Upload(all_sin.view())};
}

float SoftmaxScale(const LanguageConfig& config) {
  double scale = 1 / std::sqrt(static_cast<double>(config.qk_head_dim()));
  if (config.use_mla && config.rope_scaling && config.rope_scaling->mscale_all_dim != 0) {
    const double mscale =
        YarnMscale(config.rope_scaling->factor, config.rope_scaling->mscale_all_dim);
    scale *= mscale * mscale;
  }
  return static_cast<float>(scale);
}

}  // namespace vl2
