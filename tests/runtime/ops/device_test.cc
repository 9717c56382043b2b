// Memory of devices: operations use what they are given on their own device, and nothing else.
#include "runtime/tensor/device.h"

#include <memory>

#include "gtest/gtest.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "runtime/ops/ref/make_ref_ops.h"
#include "tests/cases/attention_cases.h"
#include "tests/cases/compare.h"
#include "tests/cases/linear_cases.h"
#include "tests/cases/moe_cases.h"
#include "tests/cases/row_cases.h"
#include "tests/cases/test_device.h"

namespace vl2 {
namespace {

using Access = TestDevice::Access;

std::vector<float> Copied(std::span<const float> values) { return {values.begin(), values.end()}; }

// What every case gives on `ops`.
std::vector<std::vector<float>> AllResults(Ops* ops) {
  std::vector<std::vector<float>> results;
  for (const LinearCase& c : LinearTestCases()) {
    if (c.in > 300) continue;
    LinearProblem problem(c, ops);
    problem.Run(ops);
    results.push_back(Copied(problem.result()));
  }
  for (const MoeCase& c : MoeTestCases()) {
    MoeProblem problem(c, ops);
    problem.Run(ops, 0, c.tokens);
    results.push_back(Copied(problem.result()));
  }
  for (const RouteCase& c : RouteTestCases()) {
    RouteProblem problem(c, ops);
    problem.Run(ops, 0, c.tokens);
    results.push_back(problem.weights());
  }
  for (const NormCase& c : NormTestCases()) {
    NormProblem problem(c, ops);
    problem.RunRms(ops, 0, c.rows);
    problem.RunLayer(ops, 0, c.rows);
    results.push_back(Copied(problem.rms()));
    results.push_back(Copied(problem.layer()));
  }
  for (const RotaryCase& c : RotaryTestCases()) {
    RotaryProblem problem(c, ops);
    problem.Run(ops, 0, c.tokens);
    results.push_back(Copied(problem.result()));
  }
  for (const AttentionCase& c : CausalTestCases()) {
    CausalProblem problem(c, ops);
    problem.Run(ops);
    results.push_back(Copied(problem.result()));
  }
  for (const AttentionCase& c : LatentTestCases()) {
    LatentProblem problem(c, ops);
    problem.Run(ops);
    results.push_back(Copied(problem.result()));
  }
  for (const FullAttentionCase& c : FullAttentionTestCases()) {
    FullAttentionProblem problem(c, ops);
    problem.Run(ops, 0, c.num_tiles);
    results.push_back(Copied(problem.result()));
  }
  return results;
}

void ExpectSame(const std::vector<std::vector<float>>& actual,
                const std::vector<std::vector<float>>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_TRUE(SameBits(actual[i], expected[i])) << "case " << i;
  }
}

TEST(Device, OperationsUseTheirOwnMemoryOnly) {
  ThreadPool pool(3);
  const std::vector<std::vector<float>> expected = AllResults(MakeCpuOps(&pool).get());
  for (const Access access : {Access::kAlways, Access::kInsideOperations}) {
    TestDevice device(access);
    GuardedOps ops(MakeCpuOps(&pool, device), device);
    ExpectSame(AllResults(&ops), expected);
  }
}

TEST(Device, SoDoesTheReference) {
  ThreadPool pool(3);
  const MoeCase c = MoeTestCases()[4];
  const auto run = [&](Ops* ops) {
    MoeProblem problem(c, ops);
    problem.Run(ops, 0, c.tokens);
    return Copied(problem.result());
  };
  TestDevice device(Access::kInsideOperations);
  GuardedOps ops(MakeRefOps(device), device);
  EXPECT_TRUE(SameBits(run(&ops), run(MakeRefOps().get())));
}

TEST(Device, ToHostCopiesWhereItMust) {
  TestDevice device(Access::kInsideOperations);
  const SpacedMatrix matrix(device, 5, 7, 2, 1.0f, 1);
  const SpacedMatrix same(5, 7, 2, 1.0f, 1);
  GrowingHostMatrix memory;
  const ConstHostMatrix copy = ToHost(ConstMatrix(matrix.view()), memory);
  const ConstHostMatrix direct = ToHost(ConstMatrix(same.view()), memory);
  EXPECT_NE(reinterpret_cast<const std::byte*>(copy.data), matrix.view().data);
  EXPECT_EQ(reinterpret_cast<const std::byte*>(direct.data), same.view().data);
  for (int64_t r = 0; r < 5; ++r) {
    EXPECT_TRUE(std::equal(copy.row(r), copy.row(r) + 7, direct.row(r)));
  }
  SpacedMatrix back(device, 5, 7, 2);
  FromHost(direct, back.view());
  EXPECT_TRUE(SameBits(back.all(), same.all()));
}

TEST(DeviceDeathTest, MemoryOfAnotherDeviceIsRefused) {
  ThreadPool pool(1);
  TestDevice device(Access::kAlways);
  const auto ops = MakeCpuOps(&pool, device);
  const SpacedMatrix x(2, 16, 0, 1.0f, 1);
  SpacedMatrix out(device, 2, 16, 0);
  const DeviceTensor weight = RandomVector(device, 16, 1.0f, 2);
  EXPECT_DEATH(ops->RmsNorm({.x = x.view(), .weight = &weight, .out = out.view()}),
               "x lies in memory of host");
  const DeviceTensor foreign = RandomVector(HostMemory(), 16, 1.0f, 2);
  EXPECT_DEATH(ops->RmsNorm({.x = out.view(), .weight = &foreign, .out = out.view()}),
               "weight lies in other memory");
}

TEST(DeviceDeathTest, TheHostMayNotReadBetweenOperations) {
  TestDevice device(Access::kInsideOperations);
  const SpacedMatrix x(device, 2, 16, 0, 1.0f, 1);
  EXPECT_DEATH(x.view().Floats(), "memory of test device");
  const auto* address = reinterpret_cast<const volatile float*>(x.view().data);
  EXPECT_DEATH(static_cast<void>(*address), "");
  device.Open();
  EXPECT_FALSE(std::isnan(*address));
  device.Close();
}

TEST(DeviceDeathTest, WhatWasGivenBackMayNotBeUsed) {
  TestDevice device(Access::kAlways);
  Buffer buffer = device.Allocate(100);
  const auto* address = reinterpret_cast<const volatile float*>(buffer.bytes());
  EXPECT_TRUE(std::isnan(*address));
  buffer = Buffer();
  EXPECT_DEATH(static_cast<void>(*address), "");
}

// Values of a batch are checked before anything uses them.
TEST(BatchDeathTest, ValuesOutOfRangeAreRefused) {
  const auto ops = MakeRefOps();
  const auto batch = ops->NewBatch();
  const std::vector<int32_t> table = {0, 3};
  const std::vector<int32_t> ids = {1, 2};
  const std::vector<int32_t> rows = {1};
  const BatchLimits limits = {.num_blocks = 4, .max_positions = 66, .vocab_size = 3};
  const SequenceRows good = {
      .num_rows = 2, .first_position = 64, .num_prompt = 66, .block_table = table.data()};
  const auto set = [&](const SequenceRows& sequence, const std::vector<int32_t>& the_ids,
                       const std::vector<int32_t>& logit_rows, const BatchLimits& the_limits) {
    ops->SetBatch({.sequences = std::span(&sequence, 1),
                   .ids = the_ids,
                   .logit_rows = logit_rows,
                   .limits = the_limits},
                  batch.get());
  };
  set(good, ids, rows, limits);
  EXPECT_EQ(batch->positions()[1], 65);
  SequenceRows late = good;
  ++late.first_position;
  EXPECT_DEATH(set(late, ids, rows, limits), "positions up to 67 of 66");
  EXPECT_DEATH(set(good, {1, 3}, rows, limits), "id 3 of 3");
  EXPECT_DEATH(set(good, {1}, rows, limits), "1 ids for 2 rows");
  EXPECT_DEATH(set(good, ids, {2}, limits), "row 2 of 2");
  BatchLimits small = limits;
  small.num_blocks = 3;
  EXPECT_DEATH(set(good, ids, rows, small), "block 3 of 3");
}

}  // namespace
}  // namespace vl2
