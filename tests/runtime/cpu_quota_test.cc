#include "runtime/base/cpu_quota.h"

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace vl2 {
namespace {

class CpuQuotaTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = mount_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  ~CpuQuotaTest() override { std::filesystem::remove_all(mount_); }

  const std::string mount_ = testing::TempDir() + "/cgroup_" +
                             testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(CpuQuotaTest, NoneWithoutFiles) {
  EXPECT_EQ(CpuQuota("0::/a\n", mount_), std::nullopt);
  EXPECT_EQ(CpuQuota("", mount_), std::nullopt);
  EXPECT_EQ(CpuQuota("nonsense\n::\n", mount_), std::nullopt);
}

TEST_F(CpuQuotaTest, TheSmallestOfAllGroupsAbove) {
  Write("/pods/one/cpu.max", "150000 100000\n");
  Write("/pods/cpu.max", "400000 100000\n");
  EXPECT_EQ(CpuQuota("0::/pods/one\n", mount_), 1.5);
  Write("/pods/cpu.max", "50000 100000\n");
  EXPECT_EQ(CpuQuota("0::/pods/one\n", mount_), 0.5);
  Write("/pods/cpu.max", "max 100000\n");
  EXPECT_EQ(CpuQuota("0::/pods/one\n", mount_), 1.5);
  EXPECT_EQ(CpuQuota("0::/pods\n", mount_), std::nullopt);
}

TEST_F(CpuQuotaTest, AContainerSeesItsGroupAtTheTop) {
  Write("/cpu.max", "200000 100000\n");
  EXPECT_EQ(CpuQuota("0::/\n", mount_), 2);
  EXPECT_EQ(CpuQuota("0::/kubepods/pod1/its-hosts-path\n", mount_), 2);
}

TEST_F(CpuQuotaTest, VersionOne) {
  Write("/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
  Write("/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  Write("/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  Write("/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CpuQuota("5:cpuset:/\n4:cpu,cpuacct:/a/b\n0::/\n", mount_), 2.5);
  EXPECT_EQ(CpuQuota("4:cpu,cpuacct:/other\n", mount_), std::nullopt);
  EXPECT_EQ(CpuQuota("4:cpuset:/a\n", mount_), std::nullopt);
}

TEST(UsableCoresTest, IsAtLeastOne) { EXPECT_GE(UsableCores(), 1); }

}  // namespace
}  // namespace vl2
