#include "gateway/session/retry_policy.h"

#include <string>

#include "gtest/gtest.h"

namespace vl2::gateway {
namespace {

using std::chrono::milliseconds;
using LateFull = RetryPolicy::LateFull;

int NumRetries(RetryPolicy& policy, const absl::Status& status) {
  int num_retries = 0;
  while (policy.OnFailure(status)) ++num_retries;
  return num_retries;
}

struct RetryCase {
  absl::Status status;
  LateFull late_full;
  int early;
  int late;
};

TEST(RetryPolicy, CountsByKindAndPhase) {
  const RetryCase cases[] = {
      {absl::UnavailableError("x"), LateFull::kRetry, 4, 10},
      {absl::CancelledError("x"), LateFull::kRetry, 4, 10},
      {absl::AbortedError("x"), LateFull::kFinal, 4, 10},
      {absl::ResourceExhaustedError("x"), LateFull::kRetry, 1, 1},
      {absl::ResourceExhaustedError("x"), LateFull::kFinal, 1, 0},
      {absl::InvalidArgumentError("x"), LateFull::kRetry, 0, 0},
      {absl::InternalError("x"), LateFull::kRetry, 0, 0},
      {absl::NotFoundError("x"), LateFull::kFinal, 0, 0},
      {absl::DeadlineExceededError("x"), LateFull::kRetry, 0, 0},
  };
  for (const RetryCase& each : cases) {
    RetryPolicy early(each.late_full);
    EXPECT_EQ(NumRetries(early, each.status), each.early) << each.status;
    RetryPolicy late(each.late_full);
    late.OnFirstToken();
    EXPECT_EQ(NumRetries(late, each.status), each.late) << each.status;
  }
}

TEST(RetryPolicy, PausesDoubleUpToALimit) {
  RetryPolicy policy(LateFull::kRetry);
  policy.OnFirstToken();
  int expected_ms = 50;
  for (int i = 0; i < RetryPolicy::kMaxLateFailures; ++i) {
    EXPECT_EQ(policy.OnFailure(absl::UnavailableError("x")),
              milliseconds(std::min(expected_ms, 2000)));
    expected_ms *= 2;
  }
}

TEST(RetryPolicy, SuccessStartsAnew) {
  RetryPolicy policy(LateFull::kFinal);
  EXPECT_EQ(NumRetries(policy, absl::UnavailableError("x")), RetryPolicy::kMaxEarlyFailures);
  policy.OnSuccess();
  EXPECT_EQ(policy.OnFailure(absl::UnavailableError("x")), milliseconds(50));
}

TEST(RetryPolicy, LostReplicasCountTowardsAFullOne) {
  RetryPolicy policy(LateFull::kRetry);
  EXPECT_TRUE(policy.OnFailure(absl::UnavailableError("x")));
  EXPECT_FALSE(policy.OnFailure(absl::ResourceExhaustedError("x")));
}

}  // namespace
}  // namespace vl2::gateway
