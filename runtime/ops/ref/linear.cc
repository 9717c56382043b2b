#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/ops/ref/ref_ops.h"
#include "runtime/weight_format/superblock.h"

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

int64_t TotalRows(std::span<const WeightView> parts) {
  int64_t rows = 0;
  for (const WeightView& part : parts) rows += part.shape[0];
  return rows;
}

const RefLinearWeight& Ref(const LinearWeight* weight) {
  return static_cast<const RefLinearWeight&>(*weight);
}

const RefGatedLinearWeight& Ref(const GatedLinearWeight* weight) {
  return static_cast<const RefGatedLinearWeight&>(*weight);
}

// silu(x · Gᵀ) ⊙ (x · Uᵀ) of one row.
std::vector<float> RunGated(const RefGatedLinearWeight& weight, const float* x) {
  const std::vector<double> gate = weight.gate.Product(x);
  const std::vector<double> up = weight.up.Product(x);
  std::vector<float> inner(gate.size());
  for (size_t i = 0; i < inner.size(); ++i) inner[i] = static_cast<float>(Silu(gate[i]) * up[i]);
  return inner;
}

// E(x) of one token in double.
std::vector<double> RunExpert(const RefMoeWeight& weight, int64_t index, const float* x) {
  const std::vector<float> inner = RunGated(weight.gate_up[static_cast<size_t>(index)], x);
  return weight.down[static_cast<size_t>(index)].Product(inner.data());
}

// Integers of a matrix of panels, appended.
void AppendPanels(const WeightView& packed, RefIntegers& integers) {
  const int64_t in = packed.shape[1];
  const auto num_superblocks = static_cast<size_t>(NumSuperblocks(in));
  for (int64_t row = 0; row < packed.shape[0]; ++row) {
    integers.values.resize(integers.values.size() + num_superblocks * kSuperblockK);
    integers.scales.resize(integers.scales.size() + num_superblocks);
    ReadPanelLane(packed.packed, packed.panel(row / kSuperblockLanes), in, row % kSuperblockLanes,
                  integers.values.data() + integers.values.size() - num_superblocks * kSuperblockK,
                  integers.scales.data() + integers.scales.size() - num_superblocks);
  }
}

RefIntegers Quantize(std::span<const WeightView> parts, WeightFormat format) {
  RefIntegers integers;
  for (const WeightView& part : parts) {
    if (part.packed != WeightFormat::kAsStored) {
      AppendPanels(part, integers);
      continue;
    }
    const std::vector<std::byte> panels = QuantizeMatrix(format, part);
    AppendPanels(WeightView(format, part.shape, panels.data()), integers);
  }
  return integers;
}

}  // namespace

RefLinearWeight::RefLinearWeight(std::span<const WeightView> parts, WeightFormat format)
    : LinearWeight(TotalRows(parts), parts[0].shape[1]), format_(format) {
  if (format != WeightFormat::kAsStored) {
    integers_ = Quantize(parts, format);
    return;
  }
  weight_ = Tensor(parts[0].dtype, {TotalRows(parts), parts[0].shape[1]});
  std::byte* bytes = weight_.bytes();
  for (const WeightView& part : parts) {
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

std::vector<double> RefLinearWeight::Product(const float* x) const {
  const int64_t in = in_features();
  std::vector<double> out(static_cast<size_t>(out_features()));
  if (format_ == WeightFormat::kAsStored) {
    std::vector<double> row(static_cast<size_t>(in));
    for (int64_t o = 0; o < out_features(); ++o) {
      Row(o, row.data());
      out[static_cast<size_t>(o)] = Dot(row.data(), x, in);
    }
    return out;
  }
  const int64_t num_groups = NumSuperblocks(in);
  std::vector<int32_t> codes(static_cast<size_t>(num_groups * kSuperblockK));
  std::vector<float> x_scales(static_cast<size_t>(num_groups));
  for (int64_t group = 0; group < num_groups; ++group) {
    const int64_t first = group * kSuperblockK;
    x_scales[static_cast<size_t>(group)] =
        QuantizeGroup(format_, x + first, std::min(kSuperblockK, in - first),
                      std::span<int32_t, kSuperblockK>(codes.data() + first, kSuperblockK));
  }
  const int32_t* integers = integers_.values.data();
  const float* scales = integers_.scales.data();
  for (double& y : out) {
    float f = 0;
    const int32_t* code = codes.data();
    for (int64_t group = 0; group < num_groups; ++group) {
      int32_t sum = 0;
      for (int64_t i = 0; i < kSuperblockK; ++i) sum += *integers++ * *code++;
      f = std::fma(static_cast<float>(sum) * *scales++, x_scales[static_cast<size_t>(group)], f);
    }
    y = f;
  }
  return out;
}

RefGatedLinearWeight::RefGatedLinearWeight(const WeightView& gate_view, const WeightView& up_view,
                                           WeightFormat format)
    : GatedLinearWeight(gate_view.shape[0], gate_view.shape[1]),
      gate(std::span(&gate_view, 1), format),
      up(std::span(&up_view, 1), format) {}

RefMoeWeight::RefMoeWeight(const Dims& dims, const LoadExpert& load, WeightFormat format)
    : MoeWeight(dims) {
  for (int64_t e = 0; e < dims.num_experts + (dims.shared_width > 0 ? 1 : 0); ++e) {
    const ExpertTensors tensors = load(e);
    gate_up.emplace_back(tensors.gate, tensors.up, format);
    down.emplace_back(std::span(&tensors.down, 1), format);
  }
}

size_t RefMoeWeight::num_bytes() const {
  size_t bytes = 0;
  for (const RefGatedLinearWeight& weight : gate_up) bytes += weight.num_bytes();
  for (const RefLinearWeight& weight : down) bytes += weight.num_bytes();
  return bytes;
}

std::unique_ptr<LinearWeight> RefOps::DoPackLinear(std::span<const WeightView> parts,
                                                   WeightFormat format) {
  return std::make_unique<RefLinearWeight>(parts, format);
}

std::unique_ptr<GatedLinearWeight> RefOps::DoPackGatedLinear(const WeightView& gate,
                                                             const WeightView& up,
                                                             WeightFormat format) {
  return std::make_unique<RefGatedLinearWeight>(gate, up, format);
}

std::unique_ptr<MoeWeight> RefOps::DoPackExperts(const MoeWeight::Dims& dims,
                                                 const LoadExpert& load, WeightFormat format) {
  return std::make_unique<RefMoeWeight>(dims, load, format);
}

void RefOps::DoLinear(const LinearArgs& args) {
  const RefLinearWeight& weight = Ref(args.weight);
  const int64_t in = weight.in_features();
  const ConstHostMatrix x = args.x.Floats();
  const ConstHostMatrix residual = args.residual.Floats();
  const HostMatrix out = args.out.Floats();
  const auto finish = [&](int64_t r, int64_t o, double y) {
    if (args.bias != nullptr) y += args.bias->Floats()[o];
    y = Activate(args.activation, y);
    if (residual.data != nullptr) y += residual.row(r % residual.rows)[o];
    out.row(r)[o] = static_cast<float>(y);
  };
  if (weight.format() != WeightFormat::kAsStored) {
    for (int64_t r = 0; r < x.rows; ++r) {
      const std::vector<double> y = weight.Product(x.row(r));
      for (int64_t o = 0; o < out.cols; ++o) finish(r, o, y[static_cast<size_t>(o)]);
    }
    return;
  }
  std::vector<double> row(static_cast<size_t>(in));
  for (int64_t o = 0; o < weight.out_features(); ++o) {
    weight.Row(o, row.data());
    for (int64_t r = 0; r < x.rows; ++r) finish(r, o, Dot(row.data(), x.row(r), in));
  }
}

void RefOps::DoGatedLinear(const GatedLinearArgs& args) {
  const RefGatedLinearWeight& weight = Ref(args.weight);
  const int64_t in = weight.in_features();
  const ConstHostMatrix all_x = args.x.Floats();
  const HostMatrix out = args.out.Floats();
  if (weight.gate.format() != WeightFormat::kAsStored) {
    for (int64_t r = 0; r < all_x.rows; ++r) {
      const std::vector<float> inner = RunGated(weight, all_x.row(r));
      std::copy(inner.begin(), inner.end(), out.row(r));
    }
    return;
  }
  std::vector<double> gate(static_cast<size_t>(in));
  std::vector<double> up(static_cast<size_t>(in));
  for (int64_t o = 0; o < weight.out_features(); ++o) {
    weight.gate.Row(o, gate.data());
    weight.up.Row(o, up.data());
    for (int64_t r = 0; r < all_x.rows; ++r) {
      const float* x = all_x.row(r);
      out.row(r)[o] = static_cast<float>(Silu(Dot(gate.data(), x, in)) * Dot(up.data(), x, in));
    }
  }
}

void RefOps::DoRoute(const RouteArgs& args) {
  const RouterConfig& config = *args.config;
  const RefLinearWeight& weight = Ref(args.weight);
  const ConstHostMatrix x = args.x.Floats();
  const float* bias = args.correction_bias != nullptr ? args.correction_bias->Floats() : nullptr;
  std::vector<float> logits(static_cast<size_t>(config.num_experts));
  std::vector<double> row(static_cast<size_t>(x.cols));
  for (int64_t r = 0; r < x.rows; ++r) {
    for (size_t e = 0; e < logits.size(); ++e) {
      weight.Row(static_cast<int64_t>(e), row.data());
      logits[e] = static_cast<float>(Dot(row.data(), x.row(r), x.cols));
    }
    SelectExperts(config, logits.data(), bias, args.expert_ids.As<int32_t>().row(r),
                  args.expert_weights.Floats().row(r));
  }
}

void RefOps::DoMoe(const MoeArgs& args) {
  const auto& weight = static_cast<const RefMoeWeight&>(*args.weight);
  const MoeWeight::Dims& dims = weight.dims();
  const ConstHostMatrix x = args.x.Floats();
  const ConstHostMatrix residual = args.residual.Floats();
  const MatrixView<const int32_t> ids = args.expert_ids.As<int32_t>();
  const ConstHostMatrix weights = args.expert_weights.Floats();
  const HostMatrix out = args.out.Floats();
  CheckExpertIds(ids, dims.num_experts);
  for (int64_t r = 0; r < x.rows; ++r) {
    std::vector<double> sum(static_cast<size_t>(dims.hidden), 0.0);
    for (int64_t k = 0; k < ids.cols; ++k) {
      const std::vector<double> y = RunExpert(weight, ids.row(r)[k], x.row(r));
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += weights.row(r)[k] * y[i];
    }
    if (dims.shared_width > 0) {
      const std::vector<double> y = RunExpert(weight, dims.num_experts, x.row(r));
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += y[i];
    }
    for (int64_t i = 0; i < dims.hidden; ++i) {
      out.row(r)[i] = static_cast<float>(residual.row(r)[i] + sum[static_cast<size_t>(i)]);
    }
  }
}

}  // namespace vl2
