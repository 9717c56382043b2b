#include "tests/cases/linear_cases.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tests/cases/compare.h"
#include "tests/runtime/ops/cpu_target_test.h"

namespace vl2 {
namespace {

class LinearTest : public CpuTargetTest {};

// Outputs have a standard deviation of 1. Each of `in` steps rounds a partial sum of that size, by
// 3.4e-8 times it (one standard deviation): a random walk. The worst of some 10,000 outputs is four
// deviations off at a sum of up to 3.
double Tolerance(const LinearCase& c) {
  return 1e-6 + 4 * 2 * 3.4e-8 * std::sqrt(static_cast<double>(c.in));
}

TEST_P(LinearTest, MatchesTheReference) {
  for (const LinearCase& c : LinearTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    LinearProblem expected(c, ref_.get());
    LinearProblem actual(c, cpu_.get());
    expected.Run(ref_.get());
    actual.Run(cpu_.get());
    EXPECT_TRUE(Close(actual.result(), expected.result(), Tolerance(c), 1e-6));
  }
}

TEST_P(LinearTest, NotANumberStaysInItsRow) {
  for (const bool gated : {false, true}) {
    const LinearCase c = {14, 60, 50, DType::kBF16, true, Activation::kGeluErf, 0, gated};
    LinearProblem expected(c, ref_.get());
    LinearProblem actual(c, cpu_.get());
    for (LinearProblem* problem : {&expected, &actual}) {
      problem->x().Edit(
          [](HostMatrix x) { x.row(4)[17] = std::numeric_limits<float>::quiet_NaN(); });
    }
    expected.Run(ref_.get());
    actual.Run(cpu_.get());
    EXPECT_TRUE(Close(actual.result(), expected.result(), Tolerance(c), 1e-6));
  }
}

// The determinism contract: a row's result does not depend on its company.
TEST_P(LinearTest, RowsAloneGiveTheBitsOfRowsTogether) {
  const std::vector<LinearCase> cases = {
      {40, 239, 100, DType::kBF16, true, Activation::kGeluTanh, 1, false},
      {31, 700, 129, DType::kF32, true, Activation::kGeluErf, 31, false},
      {40, 300, 70, DType::kBF16, false, Activation::kNone, 0, true},
      {160, 520, 33, DType::kBF16, false, Activation::kNone, 0, false}};
  for (const LinearCase& c : cases) {
    SCOPED_TRACE(::testing::PrintToString(c));
    LinearProblem together(c, cpu_.get());
    together.Run(cpu_.get());
    LinearProblem alone(c, cpu_.get());
    for (int64_t row = 0; row < c.rows; ++row) alone.RunRows(cpu_.get(), row, 1);
    EXPECT_TRUE(SameBits(alone.result(), together.result()));
    if (c.residual_rows > 1) continue;
    for (const int64_t group : {2, 3, 5, 7, 8, 11, 12, 13, 25}) {
      LinearProblem parts(c, cpu_.get());
      for (int64_t row = 0; row < c.rows; row += group) {
        parts.RunRows(cpu_.get(), row, std::min(group, c.rows - row));
      }
      EXPECT_TRUE(SameBits(parts.result(), together.result())) << "groups of " << group;
    }
  }
}

TEST_P(LinearTest, ThreadsDoNotChangeTheBits) {
  for (const LinearCase& c :
       {LinearCase{200, 300, 500, DType::kBF16, true, Activation::kNone, 50},
        LinearCase{1, 2048, 3000, DType::kBF16},
        LinearCase{9, 500, 700, DType::kF32, false, Activation::kNone, 0, true}}) {
    SCOPED_TRACE(::testing::PrintToString(c));
    ThreadPool one(1);
    const std::unique_ptr<Ops> single = MakeCpuOps(&one);
    LinearProblem expected(c, single.get());
    expected.Run(single.get());
    for (const int num_threads : {2, 3, 8}) {
      ThreadPool pool(num_threads);
      const std::unique_ptr<Ops> ops = MakeCpuOps(&pool);
      LinearProblem actual(c, ops.get());
      actual.Run(ops.get());
      EXPECT_TRUE(SameBits(actual.result(), expected.result())) << num_threads << " threads";
    }
  }
}

// Parts joined along `out`, as one matrix.
TEST_P(LinearTest, JoinsParts) {
  const Tensor whole = RandomTensor(DType::kBF16, {45, 30}, 1.0f, 1);
  const size_t row_bytes = 30 * 2;
  const std::vector<WeightView> parts = {
      TensorView{DType::kBF16, {7, 30}, whole.view().bytes},
      TensorView{DType::kBF16, {33, 30}, whole.view().bytes + 7 * row_bytes},
      TensorView{DType::kBF16, {5, 30}, whole.view().bytes + 40 * row_bytes}};
  const auto joined = cpu_->PackLinear(parts);
  const auto single = cpu_->PackLinear(whole.view());
  const SpacedMatrix x(4, 30, 0, 1.0f, 2);
  SpacedMatrix a(4, 45, 0);
  SpacedMatrix b(4, 45, 0);
  cpu_->Linear({.x = x.view(), .weight = joined.get(), .residual = {}, .out = a.view()});
  cpu_->Linear({.x = x.view(), .weight = single.get(), .residual = {}, .out = b.view()});
  EXPECT_TRUE(SameBits(a.all(), b.all()));
}

VL2_CPU_TARGET_SUITE(LinearTest);

}  // namespace
}  // namespace vl2
