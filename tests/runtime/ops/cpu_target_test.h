// CpuTargetTest: runs a test once for each instruction set of this machine.
#pragma once

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/cpu/cpu_target.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "runtime/ops/ref/make_ref_ops.h"

namespace vl2 {

class CpuTargetTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { SelectCpuTarget(GetParam()); }
  void TearDown() override { SelectCpuTarget(""); }

  const std::unique_ptr<Ops> ref_ = MakeRefOps();
  ThreadPool pool_{3};
  const std::unique_ptr<Ops> cpu_ = MakeCpuOps(&pool_);
};

}  // namespace vl2

// The suite (a subclass of CpuTargetTest) runs for every available target.
#define VL2_CPU_TARGET_SUITE(suite)                                                         \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, ::testing::ValuesIn(vl2::AvailableCpuTargets()), \
                           [](const auto& info) { return info.param; })
