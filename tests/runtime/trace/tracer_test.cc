#include "runtime/trace/tracer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Takes connections one after the other and answers each with the same text, or never.
class Collector {
 public:
  explicit Collector(std::string answer) : answer_(std::move(answer)) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    bind(fd_, reinterpret_cast<sockaddr*>(&address), size);
    listen(fd_, 16);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~Collector() {
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
  }
  std::string endpoint() const { return Cat("http://127.0.0.1:", port_); }
  int num_requests() const { return num_requests_; }
  std::string last() const {
    MutexLock lock(&mutex_);
    return last_;
  }

 private:
  void Run() {
    for (int peer = 0; (peer = accept(fd_, nullptr, nullptr)) >= 0; close(peer)) {
      std::string text;
      char block[4096];
      size_t head = std::string::npos;
      size_t length = 0;
      while (head == std::string::npos || text.size() < head + 4 + length) {
        const ssize_t n = recv(peer, block, sizeof(block), 0);
        if (n <= 0) break;
        text.append(block, static_cast<size_t>(n));
        if (head == std::string::npos && (head = text.find("\r\n\r\n")) != std::string::npos) {
          length = static_cast<size_t>(std::stoul(text.substr(text.find("Content-Length: ") + 16)));
        }
      }
      {
        MutexLock lock(&mutex_);
        last_ = text;
      }
      ++num_requests_;
      if (answer_.empty()) {
        // Says nothing until the other side has gone.
        while (recv(peer, block, sizeof(block), 0) > 0) {
        }
        continue;
      }
      send(peer, answer_.data(), answer_.size(), MSG_NOSIGNAL);
    }
  }

  const std::string answer_;
  int fd_ = -1;
  int port_ = 0;
  std::atomic<int> num_requests_{0};
  mutable Mutex mutex_;
  std::string last_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

TracerOptions Options(const std::string& endpoint) {
  TracerOptions options;
  options.endpoint = endpoint;
  options.source.service_name = "vl2-test";
  options.batch_interval = milliseconds(10);
  options.retry_pause = milliseconds(5);
  options.post_timeout = milliseconds(500);
  return options;
}

TracerCounts Await(const Tracer& tracer, int64_t num_spans) {
  for (const auto until = Clock::now() + std::chrono::seconds(10);;) {
    const TracerCounts counts = Tracer::Counts(tracer.exporter());
    if (counts.num_exported + counts.num_not_delivered + counts.num_not_queued >= num_spans ||
        Clock::now() > until) {
      return counts;
    }
    std::this_thread::yield();
  }
}

TEST(Tracer, ExportsATree) {
  Collector collector(kOk);
  const auto tracer = Tracer::Make(Options(collector.endpoint() + "/base"));
  ASSERT_TRUE(tracer.ok()) << tracer.status();
  const TraceContext client = {.trace_id = MakeTraceId(), .span_id = MakeSpanId(), .sampled = true};
  TraceContext root;
  {
    Span server = (*tracer)->Join(client).Begin("POST /", SpanKind::kServer);
    root = server.context();
    server.point().Begin("work", SpanKind::kInternal).Set("tokens", 3);
  }
  EXPECT_EQ(root.trace_id, client.trace_id);
  EXPECT_EQ(Await(**tracer, 2).num_exported, 2);
  const std::string request = collector.last();
  EXPECT_EQ(request.find("POST /base/v1/traces HTTP/1.1\r\n"), 0u) << request;
  const auto json = ParseJson(request.substr(request.find("\r\n\r\n") + 4));
  ASSERT_TRUE(json.ok()) << json.status();
  const Json& spans = (*json)["resourceSpans"][0]["scopeSpans"][0]["spans"];
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["name"], "work");
  EXPECT_EQ(spans[0]["parentSpanId"], ToHex(root.span_id));
  EXPECT_EQ(spans[1]["parentSpanId"], ToHex(client.span_id));
  EXPECT_GE(spans[0]["startTimeUnixNano"].get<std::string>(),
            spans[1]["startTimeUnixNano"].get<std::string>());
  EXPECT_LE(spans[0]["endTimeUnixNano"].get<std::string>(),
            spans[1]["endTimeUnixNano"].get<std::string>());
}

TEST(Tracer, TheParentDecides) {
  Collector collector(kOk);
  TracerOptions options = Options(collector.endpoint());
  options.ratio = 0;
  const auto none = Tracer::Make(options);
  options.ratio = 1;
  const auto all = Tracer::Make(options);
  ASSERT_TRUE(none.ok() && all.ok());
  const TraceContext yes = {.trace_id = MakeTraceId(), .span_id = MakeSpanId(), .sampled = true};
  const TraceContext no = {.trace_id = MakeTraceId(), .span_id = MakeSpanId(), .sampled = false};
  EXPECT_TRUE((*none)->Join(yes).recording());
  EXPECT_FALSE((*none)->Join({}).recording());
  EXPECT_FALSE((*all)->Join(no).recording());
  EXPECT_EQ((*all)->Join(no).context(), no);
  EXPECT_TRUE((*all)->Join({}).recording());
  // Those who are asked next hear that it was decided here.
  EXPECT_TRUE((*none)->Join({}).context().valid());
  EXPECT_FALSE((*none)->Join({}).context().sampled);
}

TEST(Tracer, CountsWhatTheCollectorDoesNotTake) {
  Collector collector("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  const auto tracer = Tracer::Make(Options(collector.endpoint()));
  ASSERT_TRUE(tracer.ok());
  { Span span = (*tracer)->Join({}).Begin("work", SpanKind::kInternal); }
  EXPECT_EQ(Await(**tracer, 1).num_not_delivered, 1);
  EXPECT_EQ(collector.num_requests(), 1);
}

TEST(Tracer, CountsWhatTheCollectorTakesInPart) {
  const std::string body = R"({"partialSuccess":{"rejectedSpans":"1"}})";
  Collector collector(Cat("HTTP/1.1 200 OK\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  const auto tracer = Tracer::Make(Options(collector.endpoint()));
  ASSERT_TRUE(tracer.ok());
  {
    Span first = (*tracer)->Join({}).Begin("work", SpanKind::kInternal);
    Span second = first.point().Begin("more", SpanKind::kInternal);
  }
  const TracerCounts counts = Await(**tracer, 2);
  EXPECT_EQ(counts.num_exported, 1);
  EXPECT_EQ(counts.num_not_delivered, 1);
}

TEST(Tracer, TriesAgainAFewTimes) {
  Collector collector("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
  const auto tracer = Tracer::Make(Options(collector.endpoint()));
  ASSERT_TRUE(tracer.ok());
  { Span span = (*tracer)->Join({}).Begin("work", SpanKind::kInternal); }
  EXPECT_EQ(Await(**tracer, 1).num_not_delivered, 1);
  EXPECT_EQ(collector.num_requests(), 3);
}

TEST(Tracer, IsBoundedAndEndsSoonWhenTheCollectorHangs) {
  Collector collector("");
  TracerOptions options = Options(collector.endpoint());
  options.max_queued_spans = 10;
  options.max_batch_spans = 4;
  options.post_timeout = std::chrono::hours(1);
  options.shutdown_timeout = milliseconds(300);
  auto tracer = Tracer::Make(options);
  ASSERT_TRUE(tracer.ok());
  const auto exporter = (*tracer)->exporter();
  constexpr int kNumSpans = 1000;
  for (int i = 0; i < kNumSpans; ++i) {
    Span span = (*tracer)->Join({}).Begin("work", SpanKind::kInternal);
  }
  TracerCounts counts = Tracer::Counts(exporter);
  EXPECT_LE(counts.num_queued, 10);
  EXPECT_GE(counts.num_not_queued, kNumSpans - 10 - 4);
  const auto begin = Clock::now();
  tracer->reset();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(2));
  counts = Tracer::Counts(exporter);
  EXPECT_EQ(counts.num_not_queued + counts.num_not_delivered, kNumSpans);
  EXPECT_EQ(counts.num_queued, 0);
}

TEST(Tracer, DeliversWhatWaitsWhenItEnds) {
  Collector collector(kOk);
  TracerOptions options = Options(collector.endpoint());
  options.batch_interval = std::chrono::hours(1);
  auto tracer = Tracer::Make(options);
  ASSERT_TRUE(tracer.ok());
  const auto exporter = (*tracer)->exporter();
  { Span span = (*tracer)->Join({}).Begin("work", SpanKind::kInternal); }
  tracer->reset();
  EXPECT_EQ(Tracer::Counts(exporter).num_exported, 1);
}

TEST(Tracer, NamesWhatIsWrong) {
  EXPECT_EQ(Tracer::Make({.ratio = 1.5}).status().message(), "trace_ratio 1.5 is outside [0, 1]");
  EXPECT_FALSE(Tracer::Make({.ratio = std::stod("nan")}).ok());
  EXPECT_FALSE(Tracer::Make({.endpoint = "https://collector"}).ok());
}

}  // namespace
}  // namespace vl2
