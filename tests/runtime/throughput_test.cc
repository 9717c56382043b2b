#include "runtime/base/throughput.h"

#include "gtest/gtest.h"

namespace vl2 {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Throughput, ConvergesToTheRate) {
  const Throughput::Clock::time_point begin{};
  Throughput throughput(begin);
  for (int i = 1; i <= 600; ++i) throughput.Add(2, begin + milliseconds(100) * i);
  EXPECT_NEAR(throughput.PerSecond(begin + seconds(60)), 20, 1);
}

TEST(Throughput, ForgetsWhatIsLongAgo) {
  const Throughput::Clock::time_point begin{};
  Throughput throughput(begin);
  throughput.Add(1000, begin + seconds(1));
  const double soon = throughput.PerSecond(begin + seconds(2));
  const double later = throughput.PerSecond(begin + seconds(300));
  EXPECT_GT(soon, 100);
  EXPECT_LT(later, 0.1);
  EXPECT_GT(later, 0);
}

TEST(RetryAfter, IsTheBacklogByTheSpeedWithinBounds) {
  EXPECT_EQ(RetryAfterSeconds(100, 20), 5);
  EXPECT_EQ(RetryAfterSeconds(101, 20), 6);
  EXPECT_EQ(RetryAfterSeconds(0, 20), 1);
  EXPECT_EQ(RetryAfterSeconds(100, 1000), 1);
  EXPECT_EQ(RetryAfterSeconds(1000, 1), 30);
  EXPECT_EQ(RetryAfterSeconds(1, 0), 30) << "no speed is known";
}

}  // namespace
}  // namespace vl2
