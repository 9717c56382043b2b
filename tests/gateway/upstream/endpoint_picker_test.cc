#include "gateway/upstream/endpoint_picker.h"

#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace vl2::gateway {
namespace {

std::vector<EndpointLoad> Idle(int count) {
  std::vector<EndpointLoad> endpoints;
  for (int i = 0; i < count; ++i) endpoints.push_back({"10.0.0." + std::to_string(i) + ":1", 0});
  return endpoints;
}

TEST(EndpointPicker, NothingToPick) { EXPECT_FALSE(PickEndpoint({}, {}, 1, 0)); }

TEST(EndpointPicker, LeastLoadedThenInTurn) {
  auto endpoints = Idle(3);
  EXPECT_NE(PickEndpoint(endpoints, {}, std::nullopt, 0),
            PickEndpoint(endpoints, {}, std::nullopt, 1));
  endpoints[0].outstanding = endpoints[2].outstanding = 1;
  for (uint64_t turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(PickEndpoint(endpoints, {}, std::nullopt, turn), 1u);
  }
}

TEST(EndpointPicker, AffinityIsStableAndSpreads) {
  const auto four = Idle(4);
  const auto three = Idle(3);
  std::map<size_t, int> counts;
  int moved = 0;
  for (uint64_t key = 0; key < 1000; ++key) {
    const size_t pick = *PickEndpoint(four, {}, key * 0x9e3779b97f4a7c15u, key);
    ++counts[pick];
    const size_t without = *PickEndpoint(three, {}, key * 0x9e3779b97f4a7c15u, 0);
    if (pick != 3) moved += pick != without;
  }
  EXPECT_EQ(moved, 0) << "only the lost replica's share may move";
  ASSERT_EQ(counts.size(), 4u);
  for (const auto& [index, count] : counts) EXPECT_GT(count, 180);
}

TEST(EndpointPicker, LoadBeatsAffinity) {
  auto endpoints = Idle(2);
  const size_t home = *PickEndpoint(endpoints, {}, 42, 0);
  endpoints[home].outstanding = kLoadSlack - 1;
  EXPECT_EQ(PickEndpoint(endpoints, {}, 42, 0), home);
  endpoints[home].outstanding = kLoadSlack;
  EXPECT_NE(PickEndpoint(endpoints, {}, 42, 0), home);
}

TEST(EndpointPicker, AvoidedOnesAreTheLastResort) {
  const auto endpoints = Idle(2);
  const std::vector<std::string> avoid = {endpoints[0].address};
  EXPECT_EQ(PickEndpoint(endpoints, avoid, 42, 0), 1u);
  EXPECT_TRUE(PickEndpoint(
      endpoints, std::vector<std::string>{endpoints[0].address, endpoints[1].address}, 42, 0));
}

}  // namespace
}  // namespace vl2::gateway
