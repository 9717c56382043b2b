// Cases of the operations that work row by row: RmsNorm and LayerNorm (norm.h), Rotary (rotary.h),
// Embed (embedding.h), SpaceToDepth (space_to_depth.h).
#pragma once

#include <cmath>
#include <memory>
#include <ostream>
#include <vector>

#include "runtime/ops/ops.h"
#include "tests/cases/random_data.h"

namespace vl2 {

struct NormCase {
  int64_t rows = 1;
  int64_t cols = 1;
  float offset = 0;  // added to the values: a mean far from 0

  friend std::ostream& operator<<(std::ostream& stream, const NormCase& c) {
    return stream << c.rows << "x" << c.cols << " offset " << c.offset;
  }
};

inline std::vector<NormCase> NormTestCases() {
  return {{0, 8, 0},     {1, 1, 1},    {1, 2, 0},      {3, 7, 0},    {2, 15, 1},    {5, 16, 0},
          {2, 63, 0},    {4, 64, 3},   {3, 65, 0},     {2, 128, 0},  {7, 239, 1},   {2, 256, 0},
          {33, 1152, 2}, {2, 1280, 0}, {100, 2048, 0}, {3, 2560, 1}, {1, 12288, 0}, {5, 512, 0}};
}

// Both norms on the same inputs.
class NormProblem {
 public:
  NormProblem(const NormCase& c, Ops* ops)
      : x_(ops->device(), c.rows, c.cols, 2, 1.0f, 1),
        weight_(RandomVector(ops->device(), c.cols, 1.0f, 2)),
        bias_(RandomVector(ops->device(), c.cols, 1.0f, 3)),
        rms_(ops->device(), c.rows, c.cols, 1),
        layer_(ops->device(), c.rows, c.cols, 4) {
    x_.Edit([&](HostMatrix x) {
      for (int64_t r = 0; r < c.rows; ++r) {
        for (int64_t i = 0; i < c.cols; ++i) x.row(r)[i] += c.offset;
      }
    });
  }
  void RunRms(Ops* ops, int64_t first, int64_t count) {
    ops->RmsNorm({.x = x_.view().Rows(first, count),
                  .weight = &weight_,
                  .eps = 1e-6f,
                  .out = rms_.view().Rows(first, count)});
  }
  void RunLayer(Ops* ops, int64_t first, int64_t count) {
    ops->LayerNorm({.x = x_.view().Rows(first, count),
                    .weight = &weight_,
                    .bias = &bias_,
                    .eps = 1e-6f,
                    .out = layer_.view().Rows(first, count)});
  }
  int64_t rows() const { return x_.view().rows; }
  SpacedMatrix& x() { return x_; }
  std::span<const float> rms() const { return rms_.all(); }
  std::span<const float> layer() const { return layer_.all(); }

 private:
  SpacedMatrix x_;
  DeviceTensor weight_;
  DeviceTensor bias_;
  SpacedMatrix rms_;
  SpacedMatrix layer_;
};

struct RotaryCase {
  int64_t tokens = 1;
  int64_t num_heads = 1;
  int64_t head_stride = 2;
  int64_t offset = 0;
  int64_t dim = 2;
  RotaryLayout layout = RotaryLayout::kHalves;

  friend std::ostream& operator<<(std::ostream& stream, const RotaryCase& c) {
    return stream << c.tokens << " tokens " << c.num_heads << " heads stride " << c.head_stride
                  << " offset " << c.offset << " dim " << c.dim
                  << (c.layout == RotaryLayout::kHalves ? " halves" : " interleaved");
  }
};

inline std::vector<RotaryCase> RotaryTestCases() {
  std::vector<RotaryCase> cases;
  for (const RotaryLayout layout : {RotaryLayout::kHalves, RotaryLayout::kInterleaved}) {
    cases.push_back({0, 1, 2, 0, 2, layout});
    cases.push_back({1, 1, 2, 0, 2, layout});
    cases.push_back({5, 3, 7, 1, 6, layout});
    cases.push_back({9, 4, 32, 0, 32, layout});
    cases.push_back({200, 4, 48, 32, 16, layout});
    cases.push_back({3, 16, 192, 128, 64, layout});
    cases.push_back({2, 1, 576, 512, 64, layout});
    cases.push_back({40, 10, 128, 0, 128, layout});
  }
  return cases;
}

class RotaryProblem {
 public:
  static constexpr int64_t kPositions = 500;

  RotaryProblem(const RotaryCase& c, Ops* ops)
      : case_(c), x_(ops->device(), c.tokens, c.num_heads * c.head_stride, 3, 1.0f, 1) {
    RandomSource random(2);
    Tensor cos(DType::kF32, {kPositions, c.dim / 2});
    Tensor sin(DType::kF32, {kPositions, c.dim / 2});
    for (int64_t p = 0; p < kPositions; ++p) {
      for (int64_t i = 0; i < c.dim / 2; ++i) {
        const double angle = static_cast<double>(p) * std::pow(1e4, -2.0 * static_cast<double>(i) /
                                                                        static_cast<double>(c.dim));
        cos.data<float>()[p * (c.dim / 2) + i] = static_cast<float>(std::cos(angle));
        sin.data<float>()[p * (c.dim / 2) + i] = static_cast<float>(std::sin(angle));
      }
    }
    table_ = {.dim = c.dim, .cos = ops->Upload(cos.view()), .sin = ops->Upload(sin.view())};
    for (int64_t t = 0; t < c.tokens; ++t) {
      positions_.push_back(static_cast<int32_t>(random.Below(kPositions)));
    }
  }
  void Run(Ops* ops, int64_t first, int64_t count) {
    // Each row is a sequence of its own. The cache is not used.
    const std::vector<int32_t> table(kPositions / kBlockTokens + 1, 0);
    std::vector<SequenceRows> sequences;
    for (int64_t row = 0; row < count; ++row) {
      sequences.push_back({.first_row = row,
                           .num_rows = 1,
                           .first_position = positions_[static_cast<size_t>(first + row)],
                           .block_table = table.data()});
    }
    const std::unique_ptr<Batch> batch = ops->NewBatch();
    ops->SetBatch({.sequences = sequences,
                   .ids = {},
                   .logit_rows = {},
                   .limits = {.num_blocks = 1, .max_positions = kPositions}},
                  batch.get());
    ops->Rotary({.x = x_.view().Rows(first, count),
                 .num_heads = case_.num_heads,
                 .head_stride = case_.head_stride,
                 .offset = case_.offset,
                 .batch = batch.get(),
                 .table = &table_,
                 .layout = case_.layout});
  }
  std::span<const float> result() const { return x_.all(); }

 private:
  const RotaryCase case_;
  RotaryTable table_;
  std::vector<int32_t> positions_;
  SpacedMatrix x_;
};

struct SpaceToDepthCase {
  int64_t num_tiles = 1;
  int64_t side = 1;
  int64_t ratio = 1;
  int64_t channels = 1;

  friend std::ostream& operator<<(std::ostream& stream, const SpaceToDepthCase& c) {
    return stream << c.num_tiles << " tiles side " << c.side << " ratio " << c.ratio << " channels "
                  << c.channels;
  }
};

inline std::vector<SpaceToDepthCase> SpaceToDepthTestCases() {
  return {{0, 27, 2, 8}, {1, 1, 1, 1}, {1, 1, 2, 3},   {2, 5, 2, 7},
          {3, 4, 2, 16}, {2, 7, 3, 5}, {2, 27, 2, 64}, {1, 27, 2, 1152}};
}

}  // namespace vl2
