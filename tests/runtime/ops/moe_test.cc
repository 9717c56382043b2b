#include "runtime/ops/moe.h"

#include "gtest/gtest.h"
#include "tests/cases/compare.h"
#include "tests/cases/moe_cases.h"
#include "tests/runtime/ops/cpu_target_test.h"

namespace vl2 {
namespace {

class MoeTest : public CpuTargetTest {};

// See linear_test.cc; the result adds top_k products of that size, some cancel.
double Tolerance(const MoeCase& c) {
  return 2e-6 + 1e-6 * c.top_k +
         1e-6 * std::sqrt(static_cast<double>(std::max({c.hidden, c.width, c.shared_width})));
}

TEST_P(MoeTest, MatchesTheReference) {
  for (const MoeCase& c : MoeTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    MoeProblem expected(c, ref_.get());
    MoeProblem actual(c, cpu_.get());
    expected.Run(ref_.get(), 0, c.tokens);
    actual.Run(cpu_.get(), 0, c.tokens);
    EXPECT_TRUE(Close(actual.result(), expected.result(), Tolerance(c), 1e-6));
  }
}

TEST_P(MoeTest, TokensAloneGiveTheBitsOfTokensTogether) {
  for (const MoeCase& c : MoeTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    MoeProblem together(c, cpu_.get());
    MoeProblem parts(c, cpu_.get());
    together.Run(cpu_.get(), 0, c.tokens);
    for (int64_t row = 0; row < c.tokens; ++row) parts.Run(cpu_.get(), row, 1);
    EXPECT_TRUE(SameBits(parts.result(), together.result()));
    for (int64_t row = 0; row < c.tokens; row += 13) {
      parts.Run(cpu_.get(), row, std::min<int64_t>(13, c.tokens - row));
    }
    EXPECT_TRUE(SameBits(parts.result(), together.result()));
  }
}

TEST_P(MoeTest, ThreadsDoNotChangeTheBits) {
  const MoeCase c = MoeTestCases()[7];
  ThreadPool one(1);
  const std::unique_ptr<Ops> single = MakeCpuOps(&one);
  MoeProblem expected(c, single.get());
  expected.Run(single.get(), 0, c.tokens);
  for (const int num_threads : {2, 3, 8}) {
    ThreadPool pool(num_threads);
    const std::unique_ptr<Ops> ops = MakeCpuOps(&pool);
    MoeProblem actual(c, ops.get());
    actual.Run(ops.get(), 0, c.tokens);
    EXPECT_TRUE(SameBits(actual.result(), expected.result())) << num_threads << " threads";
  }
}

TEST_P(MoeTest, RouteMatchesTheReference) {
  for (const RouteCase& c : RouteTestCases()) {
    SCOPED_TRACE(c.tokens);
    RouteProblem expected(c, ref_.get());
    RouteProblem actual(c, cpu_.get());
    RouteProblem alone(c, cpu_.get());
    expected.Run(ref_.get(), 0, c.tokens);
    actual.Run(cpu_.get(), 0, c.tokens);
    for (int64_t row = 0; row < c.tokens; ++row) alone.Run(cpu_.get(), row, 1);
    EXPECT_EQ(actual.ids(), expected.ids());
    EXPECT_TRUE(Close(actual.weights(), expected.weights(), 2e-6, 2e-6));
    EXPECT_EQ(alone.ids(), actual.ids());
    EXPECT_TRUE(SameBits(alone.weights(), actual.weights()));
  }
}

VL2_CPU_TARGET_SUITE(MoeTest);

}  // namespace
}  // namespace vl2
