#include "runtime/rpc/metrics.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "runtime/rpc/host_port.h"
#include "runtime/rpc/metrics_listener.h"
#include "runtime/rpc/metrics_port.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(MetricsTest, TextHoldsEverything) {
  Metrics metrics;
  metrics.Counter("vl2_calls_total", "Calls.", {{"code", "OK"}}).Add();
  metrics.Counter("vl2_calls_total", "Calls.", {{"code", "OK"}}).Add(2);
  metrics.Histogram("vl2_step_ms", "Steps.", DecimalBounds(1, 10)).Observe(3);
  double value = 5;
  metrics.AddSource([&](MetricSamples& samples) {
    samples.Gauge("vl2_queue", "Queue.", value);
    samples.Counter("vl2_tokens_total", "Tokens.", 7, {{"kind", "prompt"}});
  });
  EXPECT_THAT(metrics.Text(), HasSubstr("vl2_calls_total{code=\"OK\"} 3"));
  EXPECT_THAT(metrics.Text(), HasSubstr("vl2_step_ms_bucket{le=\"2\"} 0"));
  EXPECT_THAT(metrics.Text(), HasSubstr("vl2_step_ms_bucket{le=\"5\"} 1"));
  EXPECT_THAT(metrics.Text(), HasSubstr("# TYPE vl2_queue gauge\nvl2_queue 5"));
  EXPECT_THAT(metrics.Text(), HasSubstr("vl2_tokens_total{kind=\"prompt\"} 7"));
  value = 6;
  EXPECT_THAT(metrics.Text(), HasSubstr("vl2_queue 6"));
}

TEST(MetricsTest, DecimalBoundsReachTheLast) {
  EXPECT_EQ(DecimalBounds(1, 40), (std::vector<double>{1, 2, 5, 10, 20, 50}));
}

// A socket, connected.
int Connect(const std::string& address) {
  const HostPort target = *ParseHostPort(address);
  const int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(target.port));
  inet_pton(AF_INET, target.host.c_str(), &to.sin_addr);
  EXPECT_EQ(connect(socket_fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  return socket_fd;
}

// The answer to one HTTP request line.
std::string Ask(const std::string& address, const std::string& request_line) {
  const int socket_fd = Connect(address);
  const std::string request = request_line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(write(socket_fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char block[4096];
  for (ssize_t n = 0; (n = read(socket_fd, block, sizeof(block))) > 0;) answer.append(block, n);
  close(socket_fd);
  return answer;
}

TEST(MetricsListenerTest, Answers) {
  Metrics metrics;
  metrics.Counter("vl2_calls_total", "Calls.").Add(4);
  ServiceHealth health;
  auto listener = MetricsListener::Start("localhost:0", metrics, health);
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string address =
      "127.0.0.1:" + std::to_string(ParseHostPort((*listener)->address())->port);
  EXPECT_THAT(Ask(address, "GET /metrics"), HasSubstr("\r\n\r\n# HELP vl2_calls_total Calls."));
  EXPECT_THAT(Ask(address, "GET /metrics"), HasSubstr("vl2_calls_total 4"));
  health.SetLoadProgress(0.25);
  EXPECT_THAT(Ask(address, "GET /livez"), StartsWith("HTTP/1.1 200")) << "loading is no illness";
  EXPECT_THAT(Ask(address, "GET /readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(Ask(address, "GET /readyz"), HasSubstr("not ready: loading, 25%"));
  health.SetState(ServiceHealth::State::kServing);
  EXPECT_THAT(Ask(address, "GET /readyz"), StartsWith("HTTP/1.1 200"));
  absl::Status alive;
  health.AddCheck([&alive] { return alive; });
  EXPECT_THAT(Ask(address, "GET /livez"), StartsWith("HTTP/1.1 200"));
  alive = absl::UnavailableError("no step");
  for (const char* request : {"GET /livez", "GET /healthz"}) {
    EXPECT_THAT(Ask(address, request), StartsWith("HTTP/1.1 503")) << request;
    EXPECT_THAT(Ask(address, request), HasSubstr("not alive: no step")) << request;
  }
  EXPECT_THAT(Ask(address, "GET /readyz"), StartsWith("HTTP/1.1 200")) << "one is not the other";
  health.SetState(ServiceHealth::State::kDraining);
  EXPECT_THAT(Ask(address, "GET /readyz"), HasSubstr("shutting down"));
  EXPECT_THAT(Ask(address, "GET /etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Ask(address, "POST /metrics"), StartsWith("HTTP/1.1 405"));
}

TEST(MetricsListenerTest, AnswersBesideConnectionsThatSayNothing) {
  Metrics metrics;
  const ServiceHealth health;
  auto listener = MetricsListener::Start("127.0.0.1:0", metrics, health);
  ASSERT_TRUE(listener.ok()) << listener.status();
  const auto begin = std::chrono::steady_clock::now();
  std::vector<int> silent;
  for (int i = 0; i < 8; ++i) silent.push_back(Connect((*listener)->address()));
  EXPECT_THAT(Ask((*listener)->address(), "GET /livez"), StartsWith("HTTP/1.1 200"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2))
      << "a probe does not wait until the others are given up";
  for (const int fd : silent) close(fd);
}

TEST(MetricsListenerTest, RefusesAnAddressInUse) {
  Metrics metrics;
  const ServiceHealth health;
  auto first = MetricsListener::Start("127.0.0.1:0", metrics, health);
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = MetricsListener::Start((*first)->address(), metrics, health);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST(HostPortTest, Parses) {
  EXPECT_EQ(ParseHostPort("a.b:80")->ToString(), "a.b:80");
  EXPECT_EQ(ParseHostPort("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseHostPort("[::1]:80")->ToString(), "[::1]:80");
  for (const char* text : {"", "host", "host:", ":1", "host:x", "host:65536", "host:-1", "::1:80",
                           "host:1x", "[]:1"}) {
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
  }
}

TEST(MetricsPortTest, TellsOfTheProcess) {
  MetricsPort port;
  ASSERT_TRUE(port.Open("127.0.0.1:0").ok());
  port.SetThreads(3);
  port.SetModelId("m");
  const std::string text = Ask(port.address(), "GET /metrics");
  for (const char* sample :
       {"process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds ",
        "process_max_fds ", "process_start_time_seconds ", "vl2_threads 3", "vl2_load_progress 0",
        "vl2_draining 0", "vl2_model_info{model_id=\"m\"} 1", "vl2_build_info{version=\""}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + sample));
  }
}

TEST(StallCheckTest, FailsWhenWorkMakesNoProgress) {
  using std::chrono::seconds;
  StallCheck check("step", seconds(60));
  const auto begin = StallCheck::Clock::now();
  EXPECT_TRUE(check.Check(true, 5, begin).ok());
  EXPECT_TRUE(check.Check(true, 5, begin + seconds(59)).ok());
  EXPECT_THAT(Message(check.Check(true, 5, begin + seconds(61))), HasSubstr("no step has ended"));
  EXPECT_TRUE(check.Check(true, 6, begin + seconds(62)).ok()) << "progress";
  EXPECT_TRUE(check.Check(false, 6, begin + seconds(500)).ok()) << "nothing to do";
  EXPECT_TRUE(check.Check(true, 6, begin + seconds(559)).ok()) << "work that came a moment ago";
  EXPECT_FALSE(check.Check(true, 6, begin + seconds(560)).ok());
}

}  // namespace
}  // namespace vl2
