#include <cmath>
#include <cstring>

#include "runtime/ops/ref/ref_ops.h"

namespace vl2 {
namespace {

double Activate(Activation activation, double y) {
  switch (activation) {
    case Activation::kNone:
      return y;
    case Activation::kGeluTanh:
      return 0.5 * y * (1 + std::tanh(std::sqrt(2 / M_PI) * (y + 0.044715 * y * y * y)));
    case Activation::kGeluErf:
      return 0.5 * y * (1 + std::erf(y * M_SQRT1_2));
  }
  return y;
}

double Dot(const double* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

double Silu(double y) { return y / (1 + std::exp(-y)); }

int64_t TotalRows(std::span<const TensorView> parts) {
  int64_t rows = 0;
  for (const TensorView& part : parts) rows += part.shape[0];
  return rows;
}

const RefLinearWeight& Ref(const LinearWeight* weight) {
  return static_cast<const RefLinearWeight&>(*weight);
}

const RefGatedLinearWeight& Ref(const GatedLinearWeight* weight) {
  return static_cast<const RefGatedLinearWeight&>(*weight);
}

// E(x) of one token in double.
std::vector<double> RunExpert(const ExpertWeights& expert, const float* x) {
  const RefGatedLinearWeight& gate_up = Ref(expert.gate_up);
  const int64_t hidden = gate_up.in_features();
  const int64_t width = gate_up.out_features();
  std::vector<double> row(static_cast<size_t>(std::max(hidden, width)));
  std::vector<float> inner(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i) {
    gate_up.gate.Row(i, row.data());
    const double gate = Dot(row.data(), x, hidden);
    gate_up.up.Row(i, row.data());
    inner[static_cast<size_t>(i)] = static_cast<float>(Silu(gate) * Dot(row.data(), x, hidden));
  }
  std::vector<double> out(static_cast<size_t>(hidden));
  for (int64_t i = 0; i < hidden; ++i) {
    Ref(expert.down).Row(i, row.data());
    out[static_cast<size_t>(i)] = Dot(row.data(), inner.data(), width);
  }
  return out;
}

}  // namespace

RefLinearWeight::RefLinearWeight(std::span<const TensorView> parts)
    : LinearWeight(TotalRows(parts), parts[0].shape[1]),
      weight_(parts[0].dtype, {TotalRows(parts), parts[0].shape[1]}) {
  std::byte* bytes = weight_.bytes();
  for (const TensorView& part : parts) {
    std::memcpy(bytes, part.bytes, part.num_bytes());
    bytes += part.num_bytes();
  }
}

void RefLinearWeight::Row(int64_t index, double* row) const {
  const int64_t in = in_features();
  if (weight_.dtype() == DType::kF32) {
    const float* source = weight_.data<float>() + index * in;
    for (int64_t i = 0; i < in; ++i) row[i] = source[i];
  } else {
    const BFloat16* source = weight_.data<BFloat16>() + index * in;
    for (int64_t i = 0; i < in; ++i) row[i] = ToFloat(source[i]);
  }
}

RefGatedLinearWeight::RefGatedLinearWeight(const TensorView& gate_view, const TensorView& up_view)
    : GatedLinearWeight(gate_view.shape[0], gate_view.shape[1]),
      gate(std::span(&gate_view, 1)),
      up(std::span(&up_view, 1)) {}

std::unique_ptr<LinearWeight> RefOps::DoPackLinear(std::span<const TensorView> parts) {
  return std::make_unique<RefLinearWeight>(parts);
}

std::unique_ptr<GatedLinearWeight> RefOps::DoPackGatedLinear(const TensorView& gate,
                                                             const TensorView& up) {
  return std::make_unique<RefGatedLinearWeight>(gate, up);
}

void RefOps::DoLinear(const LinearArgs& args) {
  const RefLinearWeight& weight = Ref(args.weight);
  const int64_t in = weight.in_features();
  std::vector<double> row(static_cast<size_t>(in));
  for (int64_t o = 0; o < weight.out_features(); ++o) {
    weight.Row(o, row.data());
    for (int64_t r = 0; r < args.x.rows; ++r) {
      double y = Dot(row.data(), args.x.row(r), in);
      if (args.bias != nullptr) y += args.bias[o];
      y = Activate(args.activation, y);
      if (args.residual.data != nullptr) y += args.residual.row(r % args.residual.rows)[o];
      args.out.row(r)[o] = static_cast<float>(y);
    }
  }
}

void RefOps::DoGatedLinear(const GatedLinearArgs& args) {
  const RefGatedLinearWeight& weight = Ref(args.weight);
  const int64_t in = weight.in_features();
  std::vector<double> gate(static_cast<size_t>(in));
  std::vector<double> up(static_cast<size_t>(in));
  for (int64_t o = 0; o < weight.out_features(); ++o) {
    weight.gate.Row(o, gate.data());
    weight.up.Row(o, up.data());
    for (int64_t r = 0; r < args.x.rows; ++r) {
      const float* x = args.x.row(r);
      args.out.row(r)[o] =
          static_cast<float>(Silu(Dot(gate.data(), x, in)) * Dot(up.data(), x, in));
    }
  }
}

void RefOps::DoRoute(const RouteArgs& args) {
  const RouterConfig& config = *args.config;
  std::vector<float> logits(static_cast<size_t>(args.x.rows * config.num_experts));
  const Matrix out(logits.data(), args.x.rows, config.num_experts);
  DoLinear({.x = args.x, .weight = args.weight, .residual = {}, .out = out});
  for (int64_t r = 0; r < args.x.rows; ++r) {
    SelectExperts(config, out.row(r), args.correction_bias, args.expert_ids + r * config.top_k,
                  args.expert_weights + r * config.top_k);
  }
}

void RefOps::DoMoe(const MoeArgs& args) {
  const int64_t hidden = args.x.cols;
  for (int64_t r = 0; r < args.x.rows; ++r) {
    std::vector<double> sum(static_cast<size_t>(hidden), 0.0);
    for (int64_t k = r * args.top_k; k < (r + 1) * args.top_k; ++k) {
      const auto& expert = args.experts[static_cast<size_t>(args.expert_ids[k])];
      const std::vector<double> y = RunExpert(expert, args.x.row(r));
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += args.expert_weights[k] * y[i];
    }
    if (args.shared.gate_up != nullptr) {
      const std::vector<double> y = RunExpert(args.shared, args.x.row(r));
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += y[i];
    }
    for (int64_t i = 0; i < hidden; ++i) {
      args.out.row(r)[i] =
          static_cast<float>(args.residual.row(r)[i] + sum[static_cast<size_t>(i)]);
    }
  }
}

}  // namespace vl2
