// Operations that work row by row: norms, rotary, embedding, space to depth.
#include <limits>

#include "gtest/gtest.h"
#include "tests/cases/compare.h"
#include "tests/cases/row_cases.h"
#include "tests/runtime/ops/cpu_target_test.h"

namespace vl2 {
namespace {

class RowOpsTest : public CpuTargetTest {};

TEST_P(RowOpsTest, NormsMatchTheReference) {
  for (const NormCase& c : NormTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    NormProblem expected(c);
    NormProblem actual(c);
    expected.RunRms(ref_.get(), 0, c.rows);
    expected.RunLayer(ref_.get(), 0, c.rows);
    actual.RunRms(cpu_.get(), 0, c.rows);
    actual.RunLayer(cpu_.get(), 0, c.rows);
    // A mean of m is known to about m·1e-7, and so are the differences from it.
    const double tolerance = 1e-6 * (1 + c.offset);
    EXPECT_TRUE(Close(actual.rms(), expected.rms(), tolerance, 1e-6));
    if (c.cols > 2) {  // with one or two columns the variance may be 0
      EXPECT_TRUE(Close(actual.layer(), expected.layer(), tolerance, 1e-6));
    }
  }
}

TEST_P(RowOpsTest, NormRowsAloneGiveTheBitsOfRowsTogether) {
  for (const NormCase& c : NormTestCases()) {
    NormProblem together(c);
    NormProblem alone(c);
    together.RunRms(cpu_.get(), 0, c.rows);
    together.RunLayer(cpu_.get(), 0, c.rows);
    for (int64_t row = 0; row < c.rows; ++row) {
      alone.RunRms(cpu_.get(), row, 1);
      alone.RunLayer(cpu_.get(), row, 1);
    }
    EXPECT_TRUE(SameBits(alone.rms(), together.rms())) << c;
    EXPECT_TRUE(SameBits(alone.layer(), together.layer())) << c;
  }
}

TEST_P(RowOpsTest, NormOfNotANumberStaysInItsRow) {
  const NormCase c = {5, 100, 0};
  NormProblem expected(c);
  NormProblem actual(c);
  for (const NormProblem* problem : {&expected, &actual}) {
    problem->x().row(3)[99] = std::numeric_limits<float>::quiet_NaN();
  }
  expected.RunLayer(ref_.get(), 0, 5);
  actual.RunLayer(cpu_.get(), 0, 5);
  EXPECT_TRUE(Close(actual.layer(), expected.layer(), 1e-6, 1e-6));
}

TEST_P(RowOpsTest, RotaryMatchesTheReference) {
  for (const RotaryCase& c : RotaryTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    RotaryProblem expected(c);
    RotaryProblem actual(c);
    RotaryProblem alone(c);
    expected.Run(ref_.get(), 0, c.tokens);
    actual.Run(cpu_.get(), 0, c.tokens);
    EXPECT_TRUE(Close(actual.result(), expected.result(), 2e-7, 0));
    for (int64_t row = 0; row < c.tokens; ++row) alone.Run(cpu_.get(), row, 1);
    EXPECT_TRUE(SameBits(alone.result(), actual.result()));
  }
}

TEST_P(RowOpsTest, EmbedCopiesRows) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const int64_t hidden : {1, 239, 1280}) {
      const Tensor table = RandomTensor(dtype, {50, hidden}, 1.0f, 1);
      const std::vector<int32_t> ids = {0, 49, 7, 7, 31};
      SpacedMatrix expected(5, hidden, 2);
      SpacedMatrix actual(5, hidden, 2);
      ref_->Embed({.table = table.view(), .ids = ids.data(), .out = expected.view()});
      cpu_->Embed({.table = table.view(), .ids = ids.data(), .out = actual.view()});
      EXPECT_TRUE(SameBits(actual.all(), expected.all()));
    }
  }
}

TEST_P(RowOpsTest, SpaceToDepthMatchesTheReference) {
  for (const SpaceToDepthCase& c : SpaceToDepthTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    const int64_t out_side = (c.side + c.ratio - 1) / c.ratio;
    const SpacedMatrix x(c.num_tiles * c.side * c.side, c.channels, 2, 1.0f, 1);
    SpacedMatrix expected(c.num_tiles * out_side * out_side, c.channels * c.ratio * c.ratio, 3);
    SpacedMatrix actual(c.num_tiles * out_side * out_side, c.channels * c.ratio * c.ratio, 3);
    SpaceToDepthArgs args = {.x = x.view(),
                             .num_tiles = c.num_tiles,
                             .side = c.side,
                             .ratio = c.ratio,
                             .out = expected.view()};
    ref_->SpaceToDepth(args);
    args.out = actual.view();
    cpu_->SpaceToDepth(args);
    EXPECT_TRUE(SameBits(actual.all(), expected.all()));
  }
}

VL2_CPU_TARGET_SUITE(RowOpsTest);

}  // namespace
}  // namespace vl2
