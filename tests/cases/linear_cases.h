// Cases of Linear and GatedLinear (runtime/ops/linear.h).
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <ostream>
#include <vector>

#include "runtime/ops/ops.h"
#include "tests/cases/random_data.h"

namespace vl2 {

struct LinearCase {
  int64_t rows = 1;
  int64_t in = 1;
  int64_t out = 1;
  DType dtype = DType::kBF16;
  bool bias = false;
  Activation activation = Activation::kNone;
  int64_t residual_rows = 0;  // 0: none
  bool gated = false;
  WeightFormat format = WeightFormat::kAsStored;

  friend std::ostream& operator<<(std::ostream& stream, const LinearCase& c) {
    stream << (c.gated ? "gated " : "linear ") << c.rows << "x" << c.in << "->" << c.out << " "
           << Name(c.dtype);
    if (c.format != WeightFormat::kAsStored) stream << " " << Name(c.format);
    if (c.bias) stream << " bias";
    if (c.activation == Activation::kGeluTanh) stream << " gelu_tanh";
    if (c.activation == Activation::kGeluErf) stream << " gelu_erf";
    if (c.residual_rows > 0) stream << " residual " << c.residual_rows;
    return stream;
  }
};

// A dense product of a published model.
struct LinearShape {
  const char* name;
  LinearCase product;
};

inline std::vector<LinearShape> ModelLinearShapes() {
  constexpr DType kBf16 = DType::kBF16;
  constexpr Activation kNone = Activation::kNone;
  return {
      {"tower qkv", {729, 1152, 3456, kBf16, true, kNone, 0, false}},
      {"tower proj", {729, 1152, 1152, kBf16, true, kNone, 729, false}},
      {"tower fc1", {729, 1152, 4304, kBf16, true, Activation::kGeluTanh, 0, false}},
      {"tower fc2", {729, 4304, 1152, kBf16, true, kNone, 729, false}},
      {"patch embed", {729, 588, 1152, kBf16, true, kNone, 729, false}},
      {"projector 1", {196, 4608, 2048, kBf16, true, Activation::kGeluErf, 0, false}},
      {"projector 2", {196, 2048, 2048, kBf16, true, kNone, 0, false}},
      {"tiny qkv", {1, 1280, 3840, kBf16, false, kNone, 0, false}},
      {"tiny o", {1, 1280, 1280, kBf16, false, kNone, 1, false}},
      {"tiny dense gate up", {1, 1280, 6848, kBf16, false, kNone, 0, true}},
      {"tiny dense down", {1, 6848, 1280, kBf16, false, kNone, 1, false}},
      {"tiny shared gate up", {1, 1280, 1792, kBf16, false, kNone, 0, true}},
      {"tiny lm_head", {1, 1280, 129280, kBf16, false, kNone, 0, false}},
      {"tiny router", {1, 1280, 64, DType::kF32, false, kNone, 0, false}},
      {"small q", {1, 2048, 3072, kBf16, false, kNone, 0, false}},
      {"small kv_a", {1, 2048, 576, kBf16, false, kNone, 0, false}},
      {"small dense gate up", {1, 2048, 10944, kBf16, false, kNone, 0, true}},
      {"small dense down", {1, 10944, 2048, kBf16, false, kNone, 1, false}},
      {"base q", {1, 2560, 6144, kBf16, false, kNone, 0, false}},
      {"base o", {1, 4096, 2560, kBf16, false, kNone, 1, false}},
      {"base dense gate up", {1, 2560, 12288, kBf16, false, kNone, 0, true}},
      {"base dense down", {1, 12288, 2560, kBf16, false, kNone, 1, false}},
  };
}

inline std::vector<LinearCase> LinearTestCases() {
  constexpr DType kBf16 = DType::kBF16;
  constexpr DType kF32 = DType::kF32;
  constexpr Activation kNone = Activation::kNone;
  constexpr Activation kTanh = Activation::kGeluTanh;
  constexpr Activation kErf = Activation::kGeluErf;
  std::vector<LinearCase> cases = {
      {0, 8, 16, kBf16, true, kNone, 0, false},      {1, 1, 1, kBf16, false, kNone, 0, false},
      {1, 1, 1, kF32, true, kTanh, 1, false},        {3, 2, 17, kF32, true, kErf, 1, false},
      {2, 3, 15, kBf16, true, kErf, 2, false},       {5, 239, 239, kBf16, true, kTanh, 5, false},
      {7, 239, 64, kF32, true, kNone, 0, false},     {13, 255, 33, kBf16, false, kNone, 1, false},
      {12, 256, 32, kBf16, true, kTanh, 4, false},   {25, 257, 48, kBf16, true, kErf, 5, false},
      {37, 513, 65, kF32, true, kTanh, 37, false},   {145, 300, 70, kBf16, true, kNone, 29, false},
      {290, 64, 192, kF32, true, kNone, 145, false}, {1, 5000, 31, kBf16, true, kNone, 0, false},
      {0, 8, 16, kBf16, false, kNone, 0, true},      {1, 1, 1, kBf16, false, kNone, 0, true},
      {2, 7, 5, kF32, false, kNone, 0, true},        {13, 128, 239, kBf16, false, kNone, 0, true},
      {6, 255, 47, kBf16, false, kNone, 0, true},    {150, 130, 40, kF32, false, kNone, 0, true},
      {49, 600, 16, kBf16, false, kNone, 0, true},
  };
  // Every number of rows around the edges of register tiles.
  for (int64_t rows = 1; rows <= 26; ++rows) {
    cases.push_back({rows, 70, 100, rows % 2 ? kBf16 : kF32, true, kNone, 0, false});
    cases.push_back({rows, 70, 100, rows % 2 ? kF32 : kBf16, false, kNone, 0, true});
  }
  // Golden models' widths.
  for (const int64_t in : {64, 239, 128, 256}) {
    for (const int64_t out : {64, 239, 128, 256}) {
      cases.push_back({3, in, out, in % 2 ? kBf16 : kF32, true, kTanh, 3, false});
    }
  }
  // The models' shapes with few rows and at most 4,000 outputs (the oracle is slow).
  for (const LinearShape& shape : ModelLinearShapes()) {
    LinearCase c = shape.product;
    c.rows = 2;
    c.out = std::min<int64_t>(c.out, 4000);
    if (c.residual_rows > 0) c.residual_rows = 2;
    cases.push_back(c);
  }
  return cases;
}

// Inputs of a case in one backend's layout, and its output.
class LinearProblem {
 public:
  LinearProblem(const LinearCase& c, Ops* ops)
      : case_(c),
        x_(ops->device(), c.rows, c.in, 3, 1.0f, 1),
        bias_(RandomVector(ops->device(), c.out, 1.0f, 2)),
        residual_(ops->device(), c.residual_rows, c.out, 1, 1.0f, 3),
        out_(ops->device(), c.rows, c.out, 5) {
    // Outputs of a variance near 1, whatever `in` is.
    const float scale = 3.0f / std::sqrt(static_cast<float>(c.in));
    const Tensor weight = RandomTensor(c.dtype, {c.out, c.in}, scale, 4);
    if (c.gated) {
      gated_ = ops->PackGatedLinear(
          weight.view(), RandomTensor(c.dtype, {c.out, c.in}, scale, 5).view(), c.format);
    } else {
      linear_ = ops->PackLinear(weight.view(), c.format);
    }
  }

  void Run(Ops* ops) { RunRows(ops, 0, case_.rows); }
  // Rows [first, first + count) alone.
  void RunRows(Ops* ops, int64_t first, int64_t count) {
    const Matrix out = out_.view().Rows(first, count);
    const ConstMatrix x = x_.view().Rows(first, count);
    if (case_.gated) {
      ops->GatedLinear({.x = x, .weight = gated_.get(), .out = out});
      return;
    }
    ConstMatrix residual;
    if (case_.residual_rows > 0) {
      residual = count == case_.rows
                     ? ConstMatrix(residual_.view())
                     : ConstMatrix(residual_.view().Rows(first % case_.residual_rows, 1));
    }
    ops->Linear({.x = x,
                 .weight = linear_.get(),
                 .bias = case_.bias ? &bias_ : nullptr,
                 .activation = case_.activation,
                 .residual = residual,
                 .out = out});
  }
  SpacedMatrix& x() { return x_; }
  std::span<const float> result() const { return out_.all(); }

  double flops() const {
    return 2.0 * static_cast<double>(case_.rows * case_.in * case_.out) * (case_.gated ? 2 : 1);
  }
  // Weights read, activations read and written.
  double bytes() const {
    const size_t weights = case_.gated ? gated_->num_bytes() : linear_->num_bytes();
    return static_cast<double>(weights) +
           4.0 * static_cast<double>(case_.rows * (case_.in + case_.out));
  }

 private:
  const LinearCase case_;
  SpacedMatrix x_;
  DeviceTensor bias_;
  SpacedMatrix residual_;
  SpacedMatrix out_;
  std::unique_ptr<LinearWeight> linear_;
  std::unique_ptr<GatedLinearWeight> gated_;
};

}  // namespace vl2
