// Products with integer weights: the layout's definition, and the fast backend against the
// reference.
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "runtime/weight_format/superblock.h"
#include "tests/cases/compare.h"
#include "tests/cases/linear_cases.h"
#include "tests/cases/moe_cases.h"
#include "tests/runtime/ops/cpu_target_test.h"

namespace vl2 {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kW7A8, WeightFormat::kW8A16,
                                     WeightFormat::kW4A8};

// Sums of integers are exact; what is left is one rounding a group, or two without fma.
bool HasFma(const std::string& target) {
  return target.starts_with("AVX") || target.starts_with("NEON");
}

std::vector<LinearCase> Cases(WeightFormat format) {
  std::vector<LinearCase> cases;
  for (LinearCase c : LinearTestCases()) {
    if (c.rows * c.in * c.out > 8'000'000) continue;  // the reference is slow
    c.format = format;
    cases.push_back(c);
  }
  return cases;
}

class WeightFormatTest : public CpuTargetTest {};

TEST_P(WeightFormatTest, MatchesTheReference) {
  for (const WeightFormat format : kFormats) {
    for (const LinearCase& c : Cases(format)) {
      SCOPED_TRACE(::testing::PrintToString(c));
      LinearProblem expected(c, ref_.get());
      LinearProblem actual(c, cpu_.get());
      expected.Run(ref_.get());
      actual.Run(cpu_.get());
      const bool nothing_follows =
          !c.gated && c.activation == Activation::kNone && c.residual_rows == 0;
      if (nothing_follows && HasFma(GetParam())) {
        EXPECT_TRUE(SameBits(actual.result(), expected.result()));
      } else {
        EXPECT_TRUE(Close(actual.result(), expected.result(), 4e-6, 2e-6));
      }
    }
  }
}

// The largest integers everywhere: nothing saturates, wraps or loses its sign.
TEST_P(WeightFormatTest, ExtremesDoNotOverflow) {
  for (const WeightFormat format : kFormats) {
    for (const float sign : {1.0f, -1.0f}) {
      for (const int64_t rows : {1, 2, 5, 12}) {
        Tensor weight(DType::kF32, {33, 384});
        SpacedMatrix x(rows, 384, 0);
        for (int64_t i = 0; i < 33 * 384; ++i) {
          // One weight of the other sign in a block moves the zero point to an end.
          weight.data<float>()[i] = i % 384 % 32 == 7 ? -0.4f : 1.0f;
        }
        x.Edit([&](HostMatrix all) {
          for (int64_t r = 0; r < rows; ++r) std::fill_n(all.row(r), 384, sign * 3.0f);
        });
        SpacedMatrix expected(rows, 33, 0);
        SpacedMatrix actual(rows, 33, 0);
        const auto run = [&](Ops* ops, SpacedMatrix& out) {
          const auto packed = ops->PackLinear(weight.view(), format);
          ops->Linear({.x = x.view(), .weight = packed.get(), .residual = {}, .out = out.view()});
        };
        run(ref_.get(), expected);
        run(cpu_.get(), actual);
        if (HasFma(GetParam())) {
          EXPECT_TRUE(SameBits(actual.all(), expected.all())) << Name(format) << " " << rows;
        }
        const float exact = sign * 3.0f * (384 - 12 * 1.4f);
        EXPECT_NEAR(actual.all()[0] / exact, 1, 0.05) << Name(format);
      }
    }
  }
}

TEST_P(WeightFormatTest, NotANumberStaysInItsRow) {
  for (const WeightFormat format : kFormats) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      LinearCase c = {14, 300, 50};
      c.format = format;
      LinearProblem actual(c, cpu_.get());
      LinearProblem good(c, cpu_.get());
      good.Run(cpu_.get());
      actual.x().Edit([&](HostMatrix x) { x.row(4)[170] = bad; });
      actual.Run(cpu_.get());
      const size_t stride = good.result().size() / 14;
      for (size_t i = 0; i < good.result().size(); ++i) {
        if (i % stride >= 50) continue;
        if (i / stride == 4) {
          EXPECT_TRUE(std::isnan(actual.result()[i]));
        } else {
          EXPECT_EQ(actual.result()[i], good.result()[i]);
        }
      }
    }
  }
}

TEST_P(WeightFormatTest, RowsAloneGiveTheBitsOfRowsTogether) {
  for (const WeightFormat format : kFormats) {
    for (LinearCase c : {LinearCase{40, 239, 100, DType::kBF16, true, Activation::kGeluTanh, 1},
                         LinearCase{40, 300, 70, DType::kF32, false, Activation::kNone, 0, true},
                         LinearCase{160, 1100, 33}}) {
      c.format = format;
      SCOPED_TRACE(::testing::PrintToString(c));
      LinearProblem together(c, cpu_.get());
      together.Run(cpu_.get());
      for (const int64_t group : {1, 2, 3, 5, 7, 11, 12, 13, 25}) {
        LinearProblem parts(c, cpu_.get());
        for (int64_t row = 0; row < c.rows; row += group) {
          parts.RunRows(cpu_.get(), row, std::min(group, c.rows - row));
        }
        EXPECT_TRUE(SameBits(parts.result(), together.result())) << "groups of " << group;
      }
      ThreadPool one(1);
      const std::unique_ptr<Ops> single = MakeCpuOps(&one);
      LinearProblem alone(c, single.get());
      alone.Run(single.get());
      EXPECT_TRUE(SameBits(alone.result(), together.result())) << "one thread";
    }
  }
}

TEST_P(WeightFormatTest, Experts) {
  for (const WeightFormat format : kFormats) {
    for (MoeCase c : MoeTestCases()) {
      c.format = format;
      SCOPED_TRACE(::testing::PrintToString(c));
      MoeProblem expected(c, ref_.get());
      MoeProblem together(c, cpu_.get());
      MoeProblem alone(c, cpu_.get());
      expected.Run(ref_.get(), 0, c.tokens);
      together.Run(cpu_.get(), 0, c.tokens);
      for (int64_t row = 0; row < c.tokens; ++row) alone.Run(cpu_.get(), row, 1);
      EXPECT_TRUE(SameBits(alone.result(), together.result()));
      // An inner value off by a rounding may become another integer on the way down.
      EXPECT_TRUE(Close(together.result(), expected.result(), 2e-2, 0));
    }
  }
}

VL2_CPU_TARGET_SUITE(WeightFormatTest);

TEST(SuperblockTest, GroupsRoundToTheNearestEven) {
  std::vector<float> x(kSuperblockK, 0.0f);
  x[0] = -127;
  x[1] = 0.5f;
  x[2] = 1.5f;
  x[3] = -2.5f;
  int32_t codes[kSuperblockK];
  EXPECT_EQ(QuantizeGroup(WeightFormat::kW7A8, x.data(), kSuperblockK, codes), 1.0f);
  EXPECT_EQ(std::vector<int32_t>(codes, codes + 5), (std::vector<int32_t>{-127, 0, 2, -2, 0}));
  EXPECT_EQ(QuantizeGroup(WeightFormat::kW7A8, x.data(), 0, codes), 0.0f);
  EXPECT_EQ(codes[0], 0);
  x.assign(kSuperblockK, 1e-31f);
  EXPECT_EQ(QuantizeGroup(WeightFormat::kW8A16, x.data(), kSuperblockK, codes), 0.0f);
  x[127] = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isnan(QuantizeGroup(WeightFormat::kW8A16, x.data(), kSuperblockK, codes)));
}

// Relative error of weights of a bell-like distribution with long tails, and of their product with
// rows that have a few large channels.
TEST(SuperblockTest, ErrorOfWeights) {
  constexpr int64_t kIn = 1280;
  RandomSource random(7);
  std::vector<float> weights(16 * kIn);
  for (float& w : weights) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += random.Uniform(0.02f);
    w = sum * (random.Below(50) == 0 ? 4.0f : 1.0f);
  }
  const std::byte* rows[16];
  for (int lane = 0; lane < 16; ++lane) {
    rows[lane] = reinterpret_cast<const std::byte*>(weights.data() + lane * kIn);
  }
  const auto error = [&](WeightFormat format) {
    std::vector<std::byte> panel(static_cast<size_t>(PanelBytes(format, kIn)));
    QuantizePanel(format, DType::kF32, rows, kIn, panel.data());
    double wrong = 0, all = 0;
    for (int64_t lane = 0; lane < 16; ++lane) {
      std::vector<int32_t> integers(kIn);
      std::vector<float> scales(kIn / kSuperblockK);
      ReadPanelLane(format, panel.data(), kIn, lane, integers.data(), scales.data());
      for (int64_t k = 0; k < kIn; ++k) {
        const double w = weights[static_cast<size_t>(lane * kIn + k)];
        const double read = static_cast<double>(integers[static_cast<size_t>(k)]) *
                            scales[static_cast<size_t>(k / kSuperblockK)];
        wrong += (w - read) * (w - read);
        all += w * w;
      }
    }
    return std::sqrt(wrong / all);
  };
  EXPECT_LT(error(WeightFormat::kW7A8), 0.03);
  EXPECT_LT(error(WeightFormat::kW8A16), 0.015);
  EXPECT_LT(error(WeightFormat::kW4A8), 0.12);
  RecordProperty("w7a8", std::to_string(error(WeightFormat::kW7A8)));
  RecordProperty("w8a16", std::to_string(error(WeightFormat::kW8A16)));
  RecordProperty("w4a8", std::to_string(error(WeightFormat::kW4A8)));
  std::printf("relative error: w7a8 %.4f, w8a16 %.4f, w4a8 %.4f\n", error(WeightFormat::kW7A8),
              error(WeightFormat::kW8A16), error(WeightFormat::kW4A8));
}

TEST(SuperblockTest, WeightsThatAreNoNumbersTellInTheirOutputAlone) {
  std::vector<float> weights(16 * 200, 0.5f);
  weights[3 * 200 + 150] = std::numeric_limits<float>::quiet_NaN();
  const std::byte* rows[16] = {};
  for (int lane = 0; lane < 15; ++lane) {
    rows[lane] = reinterpret_cast<const std::byte*>(weights.data() + lane * 200);
  }
  for (const WeightFormat format : kFormats) {
    std::vector<std::byte> panel(static_cast<size_t>(PanelBytes(format, 200)));
    QuantizePanel(format, DType::kF32, rows, 200, panel.data());
    for (int64_t lane = 0; lane < 16; ++lane) {
      int32_t integers[256];
      float scales[2];
      ReadPanelLane(format, panel.data(), 200, lane, integers, scales);
      EXPECT_EQ(std::isnan(scales[1]), lane == 3) << Name(format) << " lane " << lane;
      for (int64_t k = 200; k < 256; ++k) EXPECT_EQ(integers[k], 0);
      EXPECT_EQ(integers[0] == 0, lane == 15);
    }
  }
}

}  // namespace
}  // namespace vl2
