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
    NormProblem expected(c, ref_.get());
    NormProblem actual(c, cpu_.get());
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
    NormProblem together(c, cpu_.get());
    NormProblem alone(c, cpu_.get());
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
  NormProblem expected(c, ref_.get());
  NormProblem actual(c, cpu_.get());
  for (NormProblem* problem : {&expected, &actual}) {
    problem->x().Edit([](HostMatrix x) { x.row(3)[99] = std::numeric_limits<float>::quiet_NaN(); });
  }
  expected.RunLayer(ref_.get(), 0, 5);
  actual.RunLayer(cpu_.get(), 0, 5);
  EXPECT_TRUE(Close(actual.layer(), expected.layer(), 1e-6, 1e-6));
}

TEST_P(RowOpsTest, RotaryMatchesTheReference) {
  for (const RotaryCase& c : RotaryTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    RotaryProblem expected(c, ref_.get());
    RotaryProblem actual(c, cpu_.get());
    RotaryProblem alone(c, cpu_.get());
    expected.Run(ref_.get(), 0, c.tokens);
    actual.Run(cpu_.get(), 0, c.tokens);
    EXPECT_TRUE(Close(actual.result(), expected.result(), 2e-7, 0));
    for (int64_t row = 0; row < c.tokens; ++row) alone.Run(cpu_.get(), row, 1);
    EXPECT_TRUE(SameBits(alone.result(), actual.result()));
  }
}

// Rows that come in and go out: a table's, the host's, and those whose logits are wanted.
TEST_P(RowOpsTest, RowsAreCopied) {
  const std::vector<int32_t> ids = {0, 49, 7, 7, 31};
  const std::vector<int32_t> logit_rows = {1, 4};
  const std::vector<int32_t> table_of_blocks = {0};
  const std::vector<SequenceRows> sequences = {
      {.first_row = 0, .num_rows = 5, .num_prompt = 5, .block_table = table_of_blocks.data()}};
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const int64_t hidden : {1, 239, 1280}) {
      const Tensor values = RandomTensor(dtype, {50, hidden}, 1.0f, 1);
      const std::vector<float> image = RandomFloats(2 * hidden, 1.0f, 2);
      const auto run = [&](Ops* ops, SpacedMatrix& rows, SpacedMatrix& taken) {
        const DeviceTensor table = ops->Upload(values.view());
        const std::unique_ptr<Batch> batch = ops->NewBatch();
        ops->SetBatch({.sequences = sequences,
                       .ids = ids,
                       .logit_rows = logit_rows,
                       .limits = {.num_blocks = 1, .max_positions = 5, .vocab_size = 50}},
                      batch.get());
        ops->Embed({.table = &table, .batch = batch.get(), .out = rows.view()});
        ops->WriteRows(
            {.values = ConstHostMatrix(image.data(), 2, hidden), .out = rows.view().Rows(2, 2)});
        ops->TakeRows({.x = rows.view(), .batch = batch.get(), .out = taken.view()});
      };
      SpacedMatrix expected(5, hidden, 2);
      SpacedMatrix actual(5, hidden, 2);
      SpacedMatrix expected_taken(2, hidden, 3);
      SpacedMatrix taken(2, hidden, 3);
      run(ref_.get(), expected, expected_taken);
      run(cpu_.get(), actual, taken);
      EXPECT_TRUE(SameBits(actual.all(), expected.all()));
      EXPECT_TRUE(SameBits(taken.all(), expected_taken.all()));
      const std::vector<float> rows(actual.all().begin(), actual.all().end());
      EXPECT_TRUE(
          std::equal(image.begin(), image.begin() + hidden, rows.begin() + 2 * (hidden + 2)));
      EXPECT_TRUE(std::equal(rows.begin() + hidden + 2, rows.begin() + hidden + 2 + hidden,
                             taken.all().begin()));
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
