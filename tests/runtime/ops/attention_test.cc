#include "runtime/ops/attention.h"

#include <limits>

#include "gtest/gtest.h"
#include "tests/cases/attention_cases.h"
#include "tests/cases/compare.h"
#include "tests/runtime/ops/cpu_target_test.h"

namespace vl2 {
namespace {

class AttentionTest : public CpuTargetTest {};

// Scores of up to about 10 in float32 give probabilities to 1e-6; outputs are near 1.
constexpr double kTolerance = 4e-6;

// Runs every sequence in chunks of `chunk` rows, one batch for each.
template <typename Problem>
void RunInChunks(Problem& problem, Ops* ops, int64_t chunk) {
  for (size_t s = 0; s < problem.sequences().size(); ++s) {
    const int64_t num_rows = problem.sequences()[s].num_rows;
    for (int64_t first = 0; first < num_rows; first += chunk) {
      problem.RunPart(ops, s, first, std::min(chunk, num_rows - first));
    }
  }
}

TEST_P(AttentionTest, CausalMatchesTheReference) {
  for (const AttentionCase& c : CausalTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    CausalProblem expected(c, ref_.get());
    CausalProblem actual(c, cpu_.get());
    expected.Run(ref_.get());
    actual.Run(cpu_.get());
    EXPECT_TRUE(Close(actual.result(), expected.result(), kTolerance, 1e-6));
  }
}

TEST_P(AttentionTest, CausalChunksGiveTheBitsOfTheBatch) {
  for (const AttentionCase& c : CausalTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    CausalProblem together(c, cpu_.get());
    together.Run(cpu_.get());
    for (const int64_t chunk : {1, 5, 37, 1000}) {
      CausalProblem parts(c, cpu_.get());
      RunInChunks(parts, cpu_.get(), chunk);
      EXPECT_TRUE(SameBits(parts.result(), together.result())) << "chunks of " << chunk;
    }
  }
}

TEST_P(AttentionTest, CausalThreadsDoNotChangeTheBits) {
  for (const AttentionCase& c : CausalTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    ThreadPool one(1);
    const std::unique_ptr<Ops> single = MakeCpuOps(&one);
    CausalProblem expected(c, ref_.get());
    expected.Run(single.get());
    for (const int num_threads : {2, 8}) {
      ThreadPool pool(num_threads);
      const std::unique_ptr<Ops> ops = MakeCpuOps(&pool);
      CausalProblem actual(c, cpu_.get());
      actual.Run(ops.get());
      EXPECT_TRUE(SameBits(actual.result(), expected.result())) << num_threads << " threads";
    }
  }
}

TEST_P(AttentionTest, LatentMatchesTheReference) {
  for (const AttentionCase& c : LatentTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    LatentProblem expected(c, ref_.get());
    LatentProblem actual(c, cpu_.get());
    expected.Run(ref_.get());
    actual.Run(cpu_.get());
    EXPECT_TRUE(Close(actual.result(), expected.result(), kTolerance, 1e-6));
  }
}

TEST_P(AttentionTest, LatentChunksGiveTheBitsOfTheBatch) {
  for (const AttentionCase& c : LatentTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    LatentProblem together(c, cpu_.get());
    together.Run(cpu_.get());
    for (const int64_t chunk : {1, 5, 37}) {
      LatentProblem parts(c, cpu_.get());
      RunInChunks(parts, cpu_.get(), chunk);
      EXPECT_TRUE(SameBits(parts.result(), together.result())) << "chunks of " << chunk;
    }
  }
}

TEST_P(AttentionTest, LatentThreadsDoNotChangeTheBits) {
  for (const AttentionCase& c : LatentTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    ThreadPool one(1);
    const std::unique_ptr<Ops> single = MakeCpuOps(&one);
    LatentProblem expected(c, single.get());
    expected.Run(single.get());
    for (const int num_threads : {2, 8}) {
      ThreadPool pool(num_threads);
      const std::unique_ptr<Ops> ops = MakeCpuOps(&pool);
      LatentProblem actual(c, ops.get());
      actual.Run(ops.get());
      EXPECT_TRUE(SameBits(actual.result(), expected.result())) << num_threads << " threads";
    }
  }
}

TEST_P(AttentionTest, FullMatchesTheReference) {
  for (const FullAttentionCase& c : FullAttentionTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    FullAttentionProblem expected(c, ref_.get());
    FullAttentionProblem actual(c, cpu_.get());
    expected.Run(ref_.get(), 0, c.num_tiles);
    actual.Run(cpu_.get(), 0, c.num_tiles);
    EXPECT_TRUE(Close(actual.result(), expected.result(), kTolerance, 1e-6));
  }
}

TEST_P(AttentionTest, FullTilesAndThreadsDoNotChangeTheBits) {
  for (const FullAttentionCase& c : FullAttentionTestCases()) {
    SCOPED_TRACE(::testing::PrintToString(c));
    ThreadPool one(1);
    const std::unique_ptr<Ops> single = MakeCpuOps(&one);
    FullAttentionProblem expected(c, ref_.get());
    for (int64_t tile = 0; tile < c.num_tiles; ++tile) expected.Run(single.get(), tile, 1);
    for (const int num_threads : {1, 2, 8}) {
      ThreadPool pool(num_threads);
      const std::unique_ptr<Ops> ops = MakeCpuOps(&pool);
      FullAttentionProblem actual(c, cpu_.get());
      actual.Run(ops.get(), 0, c.num_tiles);
      EXPECT_TRUE(SameBits(actual.result(), expected.result())) << num_threads << " threads";
    }
  }
}

TEST_P(AttentionTest, WritesOnlyTheRowsSlots) {
  const std::vector<SequenceCase> sequences = {{60, 70, 0}, {0, 1, 0}, {128, 3, 0}, {5, 100, 0}};
  int64_t rows = 0;
  for (const SequenceCase& s : sequences) rows += s.num_rows;
  for (const int64_t dim : {1, 16, 33}) {
    constexpr int64_t kHeads = 3;
    const auto written = [&](Ops* ops, bool latent, DType dtype) {
      const SpacedMatrix keys(ops->device(), rows, kHeads * dim, 2, 1.0f, 1);
      const SpacedMatrix values(ops->device(), rows, kHeads * dim, 3, 1.0f, 2);
      PagedCacheData data(sequences, latent ? 0 : kHeads, latent ? 0 : dim,
                          latent ? kHeads * dim : 0, ops, dtype);
      data.FillWithNan();
      const std::unique_ptr<Batch> batch = data.BatchOf(data.sequences(), ops);
      if (latent) {
        ops->WriteLatents({.latents = keys.view(), .batch = batch.get(), .cache = data.layer()});
      } else {
        ops->WriteKeysValues({.keys = keys.view(),
                              .values = values.view(),
                              .num_kv_heads = kHeads,
                              .head_dim = dim,
                              .batch = batch.get(),
                              .cache = data.layer()});
      }
      return data.Everything(ops);
    };
    for (const bool latent : {false, true}) {
      const std::vector<float> expected = written(ref_.get(), latent, DType::kF32);
      EXPECT_TRUE(Close(written(cpu_.get(), latent, DType::kF32), expected, 0, 0));
      std::vector<float> rounded = expected;
      for (float& value : rounded) value = ToFloat(ToBFloat16(value));
      for (Ops* ops : {ref_.get(), cpu_.get()}) {
        EXPECT_TRUE(Close(written(ops, latent, DType::kBF16), rounded, 0, 0));
      }
      const auto num_nan = std::count_if(expected.begin(), expected.end(),
                                         [](float value) { return std::isnan(value); });
      const auto slots = static_cast<int64_t>(expected.size()) / (2 * kHeads * dim);
      EXPECT_EQ(num_nan, (slots - rows) * kHeads * dim * (latent ? 1 : 2));
    }
  }
}

VL2_CPU_TARGET_SUITE(AttentionTest);

}  // namespace
}  // namespace vl2
