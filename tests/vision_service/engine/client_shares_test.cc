#include "vision_service/engine/client_shares.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "vision_service/engine/turn_order.h"

namespace vl2 {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ClientShares Shares(int64_t capacity) {
  return ClientShares(capacity, "things are held", "max_things", "asked are");
}

TEST(ClientSharesTest, OneClientAloneMayUseEverything) {
  ClientShares shares = Shares(10);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(shares.Take("a", 1).ok());
  const absl::Status full = shares.Take("a", 1);
  EXPECT_TRUE(absl::IsResourceExhausted(full));
  EXPECT_THAT(Message(full), AllOf(HasSubstr("10 things are held, 10 of them"),
                                   HasSubstr("asked are 1, the limit max_things is 10")));
  EXPECT_FALSE(shares.Take("a", 1).ok());
  EXPECT_EQ(shares.total(), 10);
  EXPECT_EQ(shares.num_clients(), 1);
}

TEST(ClientSharesTest, WhoeverFilledItDoesNotKeepOthersOut) {
  ClientShares shares = Shares(12);
  ASSERT_TRUE(shares.Take("greedy", 12).ok());
  // Two clients: six each.
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(shares.Take("b", 1).ok()) << i;
  EXPECT_FALSE(shares.Take("b", 1).ok()) << "more than its share";
  EXPECT_FALSE(shares.Take("greedy", 1).ok());
  // Three: four each.
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(shares.Take("c", 1).ok()) << i;
  EXPECT_FALSE(shares.Take("c", 1).ok());
  EXPECT_EQ(shares.total(), 22);
  EXPECT_EQ(shares.num_clients(), 3);
  // The total never exceeds twice the capacity.
  EXPECT_TRUE(shares.Take("d", 1).ok());
  EXPECT_TRUE(shares.Take("e", 1).ok());
  EXPECT_FALSE(shares.Take("f", 1).ok());
  EXPECT_EQ(shares.total(), 24);
}

TEST(ClientSharesTest, AFirstAmountBeyondTheShareIsTaken) {
  ClientShares shares = Shares(10);
  ASSERT_TRUE(shares.Take("a", 9).ok());
  ASSERT_TRUE(shares.Take("b", 1).ok());
  EXPECT_TRUE(shares.Take("c", 7).ok()) << "a picture of more tiles than a third of all";
  EXPECT_FALSE(shares.Take("c", 1).ok());
  EXPECT_FALSE(shares.Take("d", 11).ok()) << "more than there are at all";
}

TEST(ClientSharesTest, SharesBindOnlyWhenItIsFull) {
  ClientShares shares = Shares(10);
  ASSERT_TRUE(shares.Take("a", 1).ok());
  ASSERT_TRUE(shares.Take("b", 8).ok());
  EXPECT_TRUE(shares.Take("b", 1).ok());
  EXPECT_FALSE(shares.Take("b", 1).ok());
  shares.Return("a", 1);
  EXPECT_EQ(shares.num_clients(), 1);
  EXPECT_TRUE(shares.Take("b", 1).ok());
  shares.Return("b", 10);
  EXPECT_EQ(shares.total(), 0);
  EXPECT_EQ(shares.num_clients(), 0);
}

TEST(TurnOrderTest, TheOneServedLongestAgoGoesFirst) {
  TurnOrder turns;
  turns.Serve("a");
  turns.Serve("b");
  EXPECT_LT(turns.LastTurn("a"), turns.LastTurn("b"));
  EXPECT_LT(turns.LastTurn("new"), turns.LastTurn("a"));
  turns.Serve("a");
  EXPECT_LT(turns.LastTurn("b"), turns.LastTurn("a"));
  turns.Forget("a", /*tenant_too=*/true);
  EXPECT_EQ(turns.LastTurn("a"), TurnOrder::Turn());
}

TEST(TurnOrderTest, TenantsTakeTurnsAndThenTheirClients) {
  TurnOrder turns;
  turns.Serve("big/a");
  EXPECT_LT(turns.LastTurn("small/s"), turns.LastTurn("big/new")) << "its tenant was served";
  EXPECT_LT(turns.LastTurn("big/new"), turns.LastTurn("big/a"));
  turns.Forget("big/a", /*tenant_too=*/false);
  EXPECT_LT(turns.LastTurn("small/s"), turns.LastTurn("big/a"));
}

TEST(ClientSharesTest, ATenantsShareIsDividedBetweenItsClients) {
  ClientShares shares = Shares(12);
  ASSERT_TRUE(shares.Take("big/a", 12).ok());
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(shares.Take("small/s", 1).ok()) << i;
  EXPECT_FALSE(shares.Take("small/t", 1).ok()) << "the tenant has its half";
  EXPECT_FALSE(shares.Take("big/b", 1).ok()) << "its tenant holds more than a half";
  shares.Return("small/s", 5);
  EXPECT_TRUE(shares.Take("small/t", 1).ok());
  EXPECT_TRUE(shares.Take("small/t", 2).ok()) << "three each";
  EXPECT_FALSE(shares.Take("small/t", 1).ok());
  EXPECT_TRUE(shares.Take("small/s", 2).ok());
}

}  // namespace
}  // namespace vl2
