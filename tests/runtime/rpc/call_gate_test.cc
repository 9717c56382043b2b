#include "runtime/rpc/call_gate.h"

#include <thread>

#include "gtest/gtest.h"
#include "runtime/rpc/connection_count.h"

namespace vl2 {
namespace {

using std::chrono::milliseconds;

TEST(CallGateTest, LetsOutWhoIsInsideAndNobodyIn) {
  CallGate gate;
  EXPECT_TRUE(gate.WaitEmpty(milliseconds(0)));
  EXPECT_EQ(gate.state(), v1::ModelInfo::STATE_SERVING);
  ASSERT_TRUE(gate.Enter().ok());
  ASSERT_TRUE(gate.Enter().ok());
  gate.Close();
  EXPECT_EQ(gate.state(), v1::ModelInfo::STATE_DRAINING);
  EXPECT_TRUE(absl::IsUnavailable(gate.Enter()));
  gate.Leave();
  EXPECT_FALSE(gate.WaitEmpty(milliseconds(5)));
  std::thread leaver([&] {
    std::this_thread::sleep_for(milliseconds(20));
    gate.Leave();
  });
  EXPECT_TRUE(gate.WaitEmpty(milliseconds(60'000)));
  leaver.join();
}

TEST(CountConnectionsTest, CountsEstablishedOnesOfThePort) {
  const std::string table =
      "  sl  local_address rem_address   st tx_queue rx_queue\n"
      "   0: 00000000:C38C 00000000:0000 0A 00000000:00000000\n"  // listens
      "   1: 0100580A:C38C 0200580A:9C40 01 00000000:00000000\n"
      "   2: 0100580A:C38C 0200580A:9C41 06 00000000:00000000\n"  // TIME_WAIT
      "   3: 0200580A:9C42 0300580A:C38C 01 00000000:00000000\n"  // to that port elsewhere
      "   4: 00000000000000000000000001000000:C38C 00000000000000000000000001000000:1F90 01 0:0\n";
  EXPECT_EQ(CountConnectionsIn(table, 50060), 2);
  EXPECT_EQ(CountConnectionsIn(table, 80), 0);
  EXPECT_EQ(CountConnectionsIn("", 80), 0);
  EXPECT_EQ(CountConnections(1), 0);
}

}  // namespace
}  // namespace vl2
