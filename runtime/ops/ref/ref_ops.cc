#include "runtime/ops/ref/ref_ops.h"

#include <cmath>

#include "runtime/ops/ref/make_ref_ops.h"

namespace vl2 {

void RefOps::DoRmsNorm(const RmsNormArgs& args) {
  const ConstHostMatrix all_x = args.x.Floats();
  const HostMatrix out = args.out.Floats();
  const float* weight = args.weight->Floats();
  const int64_t cols = all_x.cols;
  for (int64_t r = 0; r < all_x.rows; ++r) {
    const float* x = all_x.row(r);
    double sum = 0;
    for (int64_t i = 0; i < cols; ++i) sum += double{x[i]} * x[i];
    const double scale = 1 / std::sqrt(sum / static_cast<double>(cols) + args.eps);
    for (int64_t i = 0; i < cols; ++i) {
      out.row(r)[i] = static_cast<float>(weight[i] * (x[i] * scale));
    }
  }
}

void RefOps::DoLayerNorm(const LayerNormArgs& args) {
  const ConstHostMatrix all_x = args.x.Floats();
  const HostMatrix out = args.out.Floats();
  const float* weight = args.weight->Floats();
  const float* bias = args.bias->Floats();
  const int64_t cols = all_x.cols;
  for (int64_t r = 0; r < all_x.rows; ++r) {
    const float* x = all_x.row(r);
    double mean = 0;
    for (int64_t i = 0; i < cols; ++i) mean += x[i];
    mean /= static_cast<double>(cols);
    double variance = 0;
    for (int64_t i = 0; i < cols; ++i) variance += (x[i] - mean) * (x[i] - mean);
    variance /= static_cast<double>(cols);
    const double scale = 1 / std::sqrt(variance + args.eps);
    for (int64_t i = 0; i < cols; ++i) {
      out.row(r)[i] = static_cast<float>((x[i] - mean) * scale * weight[i] + bias[i]);
    }
  }
}

void RefOps::DoRotary(const RotaryArgs& args) {
  const int64_t dim = args.table->dim;
  const int64_t half = dim / 2;
  const HostMatrix rows = args.x.Floats();
  const std::span<const int32_t> positions = args.batch->positions();
  std::vector<double> turned(static_cast<size_t>(dim));
  for (int64_t r = 0; r < rows.rows; ++r) {
    const float* cos = args.table->cos.Floats() + positions[static_cast<size_t>(r)] * half;
    const float* sin = args.table->sin.Floats() + positions[static_cast<size_t>(r)] * half;
    for (int64_t h = 0; h < args.num_heads; ++h) {
      float* x = rows.row(r) + h * args.head_stride + args.offset;
      for (int64_t i = 0; i < half; ++i) {
        const bool halves = args.layout == RotaryLayout::kHalves;
        const double a = x[halves ? i : 2 * i];
        const double b = x[halves ? i + half : 2 * i + 1];
        turned[static_cast<size_t>(i)] = a * cos[i] - b * sin[i];
        turned[static_cast<size_t>(i + half)] = b * cos[i] + a * sin[i];
      }
      for (int64_t i = 0; i < dim; ++i) x[i] = static_cast<float>(turned[static_cast<size_t>(i)]);
    }
  }
}

void RefOps::DoEmbed(const EmbedArgs& args) {
  const ConstMatrix table = args.table->matrix();
  const HostMatrix out = args.out.Floats();
  for (int64_t r = 0; r < out.rows; ++r) {
    const int32_t id = args.batch->ids()[static_cast<size_t>(r)];
    for (int64_t i = 0; i < out.cols; ++i) {
      out.row(r)[i] = table.dtype == DType::kF32 ? table.As<float>().row(id)[i]
                                                 : ToFloat(table.As<BFloat16>().row(id)[i]);
    }
  }
}

void RefOps::DoSpaceToDepth(const SpaceToDepthArgs& args) {
  const int64_t side = args.side;
  const int64_t ratio = args.ratio;
  const int64_t out_side = (side + ratio - 1) / ratio;
  const int64_t cells = ratio * ratio;
  const ConstHostMatrix x_rows = args.x.Floats();
  const HostMatrix out = args.out.Floats();
  for (int64_t r = 0; r < out.rows; ++r) {
    const int64_t tile = r / (out_side * out_side);
    const int64_t y0 = r / out_side % out_side * ratio;
    const int64_t x0 = r % out_side * ratio;
    for (int64_t cell = 0; cell < cells; ++cell) {
      const int64_t y = y0 + cell / ratio;
      const int64_t x = x0 + cell % ratio;
      const bool inside = y < side && x < side;
      const float* source = x_rows.row(inside ? (tile * side + y) * side + x : 0);
      for (int64_t c = 0; c < x_rows.cols; ++c) {
        out.row(r)[c * cells + cell] = inside ? source[c] : 0.0f;
      }
    }
  }
}

std::unique_ptr<Ops> MakeRefOps(Device& device) { return std::make_unique<RefOps>(device); }

}  // namespace vl2
