// golden_check over the part of the golden data that lives in the repository.
#include <filesystem>
#include <thread>

#include "gtest/gtest.h"
#include "runtime/ops/cpu/make_cpu_ops.h"
#include "tests/cases/test_device.h"
#include "tools/golden_check/checks.h"

namespace vl2 {
namespace {

GoldenOptions Options() { return {.dir = VL2_TEST_DATA "/golden/data"}; }

void ExpectAllPass(const GoldenOptions& options, int at_least, int num_threads = 2) {
  ThreadPool pool(num_threads);
  Report report;
  RunGoldenChecks(options, pool, report);
  EXPECT_EQ(report.num_missed(), 0);
  EXPECT_GE(report.num_items(), at_least);
}

TEST(Golden, CpuOperations) { ExpectAllPass(Options(), 150); }

TEST(Golden, ReferenceOperations) {
  GoldenOptions options = Options();
  options.ops = "ref";
  options.filter = "outputs/";
  ExpectAllPass(options, 80);
}

TEST(Golden, InChunks) {
  GoldenOptions options = Options();
  options.filter = "outputs/";
  options.chunk = 37;
  ExpectAllPass(options, 80);
}

TEST(Golden, InBatches) {
  GoldenOptions options = Options();
  options.filter = "outputs/";
  options.batch = 4;
  ExpectAllPass(options, 80, 3);
  options.chunk = 37;
  ExpectAllPass(options, 80, 3);
}

// Nothing above the operations touches a device's memory: here it may not.
TEST(Golden, MemoryThatTheHostMayNotRead) {
  TestDevice device(TestDevice::Access::kInsideOperations);
  GoldenOptions options = Options();
  options.make_ops = [&](ThreadPool* pool) {
    return std::make_unique<GuardedOps>(MakeCpuOps(pool, device), device);
  };
  options.filter = "outputs/small_mla";
  options.batch = 2;
  options.chunk = 37;
  ExpectAllPass(options, 20);
  options.filter = "outputs/tiny_mha";
  ExpectAllPass(options, 20);
}

// The forms that no published checkpoint uses, as tools/golden_oracle computes them.
TEST(Golden, Variants) {
  GoldenOptions options = {.dir = VL2_TEST_DATA "/golden/variants"};
  for (const char* ops : {"cpu", "ref"}) {
    options.ops = ops;
    options.chunk = 0;
    options.batch = 1;
    ExpectAllPass(options, 59);
    options.chunk = 7;
    options.batch = 3;
    ExpectAllPass(options, 59);
  }
}

TEST(Golden, RoundedActivationsAreReportedNotJudged) {
  GoldenOptions options = Options();
  options.filter = "outputs/tiny_mha/c1_text";
  options.activations = "bf16";
  ThreadPool pool(2);
  Report report(/*report_only=*/true);
  RunGoldenChecks(options, pool, report);
  EXPECT_GT(report.num_missed(), 0);  // bfloat16 is far outside the float32 tolerances
  EXPECT_EQ(report.Finish(), 0);
}

TEST(Golden, NothingFoundIsAFailure) {
  const auto dir = std::filesystem::temp_directory_path() / "vl2_empty_golden";
  std::filesystem::create_directories(dir);
  GoldenOptions options = {.dir = dir};
  ThreadPool pool(1);
  Report report;
  RunGoldenChecks(options, pool, report);
  EXPECT_EQ(report.num_items(), 0);
  EXPECT_EQ(report.Finish(), 1);
}

TEST(Golden, AWrongWeightIsNoticed) {
  // The checkpoint of another model under the outputs of this one.
  const auto dir = std::filesystem::temp_directory_path() / "vl2_wrong_golden";
  std::filesystem::remove_all(dir);
  const std::filesystem::path data = Options().dir;
  std::filesystem::create_directories(dir / "checkpoints");
  std::filesystem::create_directories(dir / "outputs");
  std::filesystem::create_directory_symlink(data / "cases", dir / "cases");
  std::filesystem::create_directory_symlink(data / "images", dir / "images");
  std::filesystem::create_directory_symlink(data / "checkpoints/small_mla",
                                            dir / "checkpoints/base_noaux");
  std::filesystem::create_directory_symlink(data / "outputs/base_noaux",
                                            dir / "outputs/base_noaux");
  GoldenOptions options = {.dir = dir};
  options.filter = "c1_text";
  ThreadPool pool(1);
  Report report;
  RunGoldenChecks(options, pool, report);
  EXPECT_GT(report.num_missed(), 5);
  EXPECT_EQ(report.Finish(), 1);
}

}  // namespace
}  // namespace vl2
