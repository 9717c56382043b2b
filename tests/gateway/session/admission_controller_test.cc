#include "gateway/session/admission_controller.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/error_details.h"

namespace vl2::gateway {
namespace {

using std::chrono::milliseconds;

class AdmissionControllerTest : public testing::Test {
 protected:
  static constexpr int64_t kMaxRequests = 4;
  static constexpr int64_t kMaxBytes = 1000;

  std::unique_ptr<AdmissionController::Ticket> Begin(const std::string& client, int priority = 0) {
    const size_t number = ended_.size();
    ended_.emplace_back();
    return controller_.Begin(
        client, [this, number](const absl::Status& status) { ended_[number] = status; }, now_,
        priority);
  }
  std::unique_ptr<AdmissionController::Ticket> Waiting(const std::string& client,
                                                       int priority = 0) {
    auto ticket = Begin(client, priority);
    EXPECT_TRUE(ticket->Enter().ok());
    return ticket;
  }
  void Pass(milliseconds time) { now_ += time; }
  // Numbers of the requests that were told to end.
  std::vector<size_t> Ended() const {
    std::vector<size_t> numbers;
    for (size_t i = 0; i < ended_.size(); ++i) {
      if (!ended_[i].ok()) numbers.push_back(i);
    }
    return numbers;
  }

  AdmissionController controller_{kMaxRequests, kMaxBytes};
  AdmissionController::Clock::time_point now_{};
  std::vector<absl::Status> ended_;
};

TEST_F(AdmissionControllerTest, CountsAndGivesBack) {
  auto reading = Begin("a");
  EXPECT_TRUE(reading->Grow(100, now_).ok());
  EXPECT_EQ(controller_.num_reading(), 1);
  EXPECT_EQ(controller_.num_in_flight(), 0);
  EXPECT_EQ(controller_.num_bytes(), 100);
  EXPECT_TRUE(reading->Enter().ok());
  EXPECT_EQ(controller_.num_reading(), 0);
  EXPECT_EQ(controller_.num_in_flight(), 1);
  reading->SetAnswering();
  EXPECT_EQ(controller_.num_in_flight(), 1);
  reading.reset();
  EXPECT_EQ(controller_.num_in_flight(), 0);
  EXPECT_EQ(controller_.num_bytes(), 0);
}

TEST_F(AdmissionControllerTest, BodiesTakeNoSlot) {
  std::vector<std::unique_ptr<AdmissionController::Ticket>> slow;
  for (int i = 0; i < 100; ++i) slow.push_back(Begin("slow"));
  auto good = Waiting("good");
  EXPECT_THAT(Ended(), testing::IsEmpty());
}

TEST_F(AdmissionControllerTest, OneClientAloneUsesEverythingAndNoMore) {
  std::vector<std::unique_ptr<AdmissionController::Ticket>> all;
  for (int i = 0; i < kMaxRequests; ++i) all.push_back(Waiting("a"));
  auto more = Begin("a");
  const absl::Status refused = more->Enter();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("limit of 4"));
  EXPECT_THAT(Ended(), testing::IsEmpty());
  EXPECT_EQ(controller_.num_in_flight(), kMaxRequests);
}

TEST_F(AdmissionControllerTest, ANewcomerTakesTheNewestSlotOfTheGreediest) {
  auto a0 = Waiting("a");
  auto a1 = Waiting("a");
  auto b2 = Waiting("b");
  auto a3 = Waiting("a");
  auto c4 = Waiting("c");
  EXPECT_THAT(Ended(), testing::ElementsAre(3));
  // Now a holds two, b and c one each: another of c would hold as much as a, and a one less.
  auto c5 = Begin("c");
  EXPECT_FALSE(c5->Enter().ok());
  EXPECT_THAT(Ended(), testing::ElementsAre(3));
  // A fourth client still finds room.
  auto d6 = Waiting("d");
  EXPECT_THAT(Ended(), testing::ElementsAre(1, 3));
  EXPECT_EQ(controller_.num_in_flight(), kMaxRequests);
}

TEST_F(AdmissionControllerTest, ATenantOfManyClientsHoldsNoMoreThanAnother) {
  auto a0 = Waiting("big/a");
  auto b1 = Waiting("big/b");
  auto c2 = Waiting("big/c");
  auto d3 = Waiting("big/d");
  // Each of them holds as little as the newcomer, but not their tenant.
  auto s4 = Waiting("small/s");
  EXPECT_THAT(Ended(), testing::ElementsAre(0)) << "the first by name of equal clients";
  auto s5 = Waiting("small/s");
  EXPECT_EQ(Ended().size(), 2u);
  auto s6 = Begin("small/s");
  EXPECT_FALSE(s6->Enter().ok()) << "two each";
  // Within the tenant clients compare as ever.
  auto t7 = Begin("small/t");
  EXPECT_TRUE(t7->Enter().ok());
  EXPECT_EQ(Ended().back(), 5u);
}

TEST_F(AdmissionControllerTest, ALowerPriorityGivesWay) {
  auto a0 = Waiting("a", -1);
  auto a1 = Waiting("b", 0);
  auto a2 = Waiting("c", -1);
  auto a3 = Waiting("d", 5);
  auto high4 = Waiting("e", 5);
  EXPECT_THAT(Ended(), testing::ElementsAre(2)) << "the newest of the lowest";
  auto low5 = Begin("f", -5);
  EXPECT_FALSE(low5->Enter().ok());
  auto high6 = Waiting("e", 5);
  auto high7 = Waiting("e", 5);
  EXPECT_THAT(Ended(), testing::ElementsAre(0, 1, 2));
  // Among equals shares decide again.
  auto high8 = Waiting("g", 5);
  EXPECT_THAT(Ended(), testing::ElementsAre(0, 1, 2, 7));
}

TEST_F(AdmissionControllerTest, ARefusalSaysWhenToComeAgain) {
  std::vector<std::unique_ptr<AdmissionController::Ticket>> all;
  for (int i = 0; i < kMaxRequests; ++i) all.push_back(Waiting("a"));
  const int at_first = RetryAfterOf(Begin("a")->Enter());
  EXPECT_GE(at_first, 1);
  EXPECT_LE(at_first, 30);
  // Many that end show that the backlog is soon gone.
  for (int i = 0; i < 100; ++i) {
    all.erase(all.begin());
    all.push_back(Waiting("a"));
  }
  EXPECT_EQ(RetryAfterOf(Begin("a")->Enter()), 1);
}

TEST_F(AdmissionControllerTest, WhatAnswersIsNotEnded) {
  std::vector<std::unique_ptr<AdmissionController::Ticket>> all;
  for (int i = 0; i < kMaxRequests; ++i) {
    all.push_back(Waiting("a"));
    all.back()->SetAnswering();
  }
  auto other = Begin("b");
  EXPECT_FALSE(other->Enter().ok());
  EXPECT_THAT(Ended(), testing::IsEmpty());
}

TEST_F(AdmissionControllerTest, TheSlowestBodyMakesRoom) {
  auto fast = Begin("a");
  auto slow = Begin("b");
  EXPECT_TRUE(fast->Grow(600, now_).ok());
  EXPECT_TRUE(slow->Grow(300, now_).ok());
  Pass(milliseconds(5000));
  auto young = Begin("c");
  EXPECT_TRUE(young->Grow(200, now_).ok());
  EXPECT_THAT(Ended(), testing::ElementsAre(1));
  EXPECT_EQ(controller_.num_bytes(), 800);
  // What has been told to end gets nothing any more.
  EXPECT_FALSE(slow->Grow(1, now_).ok());
  EXPECT_FALSE(slow->Enter().ok());
  slow.reset();
  EXPECT_EQ(controller_.num_bytes(), 800);
}

TEST_F(AdmissionControllerTest, TheSlowestBodyIsRefusedWhenItAsksItself) {
  auto fast = Begin("a");
  auto slow = Begin("b");
  EXPECT_TRUE(fast->Grow(900, now_).ok());
  EXPECT_TRUE(slow->Grow(50, now_).ok());
  Pass(milliseconds(3000));
  const absl::Status refused = slow->Grow(100, now_);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("950 bytes, the limit is 1000"));
  EXPECT_EQ(controller_.num_bytes(), 900);
}

TEST_F(AdmissionControllerTest, BytesOfWaitingRequestsAreShared) {
  auto a0 = Begin("a");
  EXPECT_TRUE(a0->Grow(400, now_).ok());
  EXPECT_TRUE(a0->Enter().ok());
  auto a1 = Begin("a");
  EXPECT_TRUE(a1->Grow(500, now_).ok());
  EXPECT_TRUE(a1->Enter().ok());
  auto b2 = Begin("b");
  EXPECT_TRUE(b2->Grow(300, now_).ok());
  EXPECT_THAT(Ended(), testing::ElementsAre(1));
  EXPECT_EQ(controller_.num_bytes(), 700);
  // To take a's last request as well would leave a with less than b.
  EXPECT_FALSE(b2->Grow(400, now_).ok());
  EXPECT_THAT(Ended(), testing::ElementsAre(1));
}

TEST_F(AdmissionControllerTest, OneRequestAloneIsNeverStarved) {
  auto only = Begin("a");
  EXPECT_TRUE(only->Grow(kMaxBytes + 1, now_).ok());
  auto other = Begin("b");
  EXPECT_TRUE(only->Enter().ok());
}

TEST_F(AdmissionControllerTest, AtTheEndAllAreTold) {
  auto reading = Begin("a");
  auto waiting = Waiting("a");
  auto answering = Waiting("b");
  answering->SetAnswering();
  controller_.EndAll(absl::UnavailableError("stopping"));
  EXPECT_THAT(Ended(), testing::ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace vl2::gateway
