#include "runtime/rpc/server_scaffold.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include "absl/flags/flag.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "runtime/rpc/flag_environment.h"
#include "runtime/rpc/grpc_status.h"
#include "vl2/v1/language.grpc.pb.h"

ABSL_FLAG(int64_t, rpc_test_flag, 3, "For the test.");

namespace vl2 {
namespace {

using ::testing::HasSubstr;

// Answers GetModelInfo after `delay_ms`, in a thread of the synchronous server.
class SlowService : public v1::LanguageService::Service {
 public:
  explicit SlowService(int delay_ms) : delay_ms_(delay_ms) {}
  grpc::Status GetModelInfo(grpc::ServerContext* context, const v1::GetModelInfoRequest*,
                            v1::ModelInfo* info) override {
    for (int waited = 0; waited < delay_ms_ && !context->IsCancelled(); waited += 10) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    info->set_model_id("m");
    return StatusToGrpc(absl::OkStatus());
  }

 private:
  const int delay_ms_;
};

grpc::Status Call(const std::string& address) {
  auto stub = v1::LanguageService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::ModelInfo info;
  return stub->GetModelInfo(&context, {}, &info);
}

TEST(ServerScaffoldTest, ListensAndTellsWhere) {
  MetricsPort metrics;
  SlowService service(0);
  const std::string port_file = testing::TempDir() + "/scaffold_ports";
  ASSERT_TRUE(metrics.Open("127.0.0.1:0").ok());
  auto server = ServerScaffold::Start({.service_name = "lm_service", .port_file = port_file},
                                      {&service}, metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(Call((*server)->address()).ok());
  std::ifstream file(port_file);
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "listening lm_service " + (*server)->address() + " metrics " + metrics.address());
  auto second =
      ServerScaffold::Start({.service_name = "x", .listen = (*server)->address()}, {}, metrics);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(ServerScaffoldTest, DrainLetsRunningCallsFinish) {
  MetricsPort metrics;
  SlowService service(400);
  auto server = ServerScaffold::Start({.service_name = "x"}, {&service}, metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->address();
  grpc::Status running;
  std::thread caller([&] { running = Call(address); });
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  std::thread drain([&] { (*server)->Drain(5000); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(Call(address).error_code(), grpc::StatusCode::UNAVAILABLE);
  caller.join();
  drain.join();
  EXPECT_TRUE(running.ok()) << running.error_message();
}

TEST(ServerScaffoldTest, DrainCancelsWhatTakesTooLong) {
  MetricsPort metrics;
  SlowService service(20'000);
  auto server = ServerScaffold::Start({.service_name = "x"}, {&service}, metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  grpc::Status running;
  std::thread caller([&] { running = Call((*server)->address()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  const auto begin = std::chrono::steady_clock::now();
  (*server)->Drain(200);
  caller.join();
  EXPECT_FALSE(running.ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(ServerScaffoldTest, ClientsAreAskedToMoveBeforeTheServerGoes) {
  MetricsPort metrics;
  SlowService service(0);
  auto server = ServerScaffold::Start({.service_name = "x", .max_connection_age_ms = 300},
                                      {&service}, metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto begin = std::chrono::steady_clock::now();
  (*server)->WaitForClientsToMove(60'000);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1)) << "nobody is there";
  // A client that calls again and again: none of its calls is lost.
  auto stub = v1::LanguageService::NewStub(
      grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials()));
  std::atomic<bool> moving{false};
  int num_lost = 0, num_calls = 0;
  std::thread caller([&] {
    while (!moving || num_calls < 20) {
      grpc::ClientContext context;
      v1::ModelInfo info;
      if (!stub->GetModelInfo(&context, {}, &info).ok()) ++num_lost;
      ++num_calls;
    }
    stub.reset();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  moving = true;
  (*server)->WaitForClientsToMove(60'000);
  caller.join();
  EXPECT_EQ(num_lost, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(ServerScaffoldTest, RefusesBadOptions) {
  MetricsPort metrics;
  EXPECT_THAT(Message(ServerScaffold::Start({.listen = "nowhere"}, {}, metrics).status()),
              HasSubstr("'nowhere'"));
  EXPECT_THAT(Message(ServerScaffold::Start({.drain_timeout_ms = -1}, {}, metrics).status()),
              HasSubstr("drain_timeout_ms -1"));
}

TEST(GrpcStatusTest, GoesThereAndBack) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "why");
    const grpc::Status sent = StatusToGrpc(status);
    EXPECT_EQ(static_cast<int>(sent.error_code()), code);
    EXPECT_EQ(GrpcToStatus(sent), status);
  }
  EXPECT_LE(StatusToGrpc(absl::InternalError(std::string(100'000, 'x'))).error_message().size(),
            kMaxStatusMessageBytes);
}

TEST(FlagEnvironmentTest, SetsFlags) {
  setenv("VL2_RPC_TEST_FLAG", "17", 1);
  ASSERT_TRUE(SetFlagsFromEnvironment().ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_rpc_test_flag), 17);
  setenv("VL2_RPC_TEST_FLAG", "many", 1);
  EXPECT_THAT(Message(SetFlagsFromEnvironment()), HasSubstr("VL2_RPC_TEST_FLAG=many"));
  unsetenv("VL2_RPC_TEST_FLAG");
}

}  // namespace
}  // namespace vl2
