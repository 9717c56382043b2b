// What one body of 64 MiB may cost the gateway: 2 s of CPU time and 256 MiB above the body, or it
// is refused. Memory is measured in a process of its own for each shape.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "gateway/http/chat_request.h"
#include "gateway/http/chat_response.h"
#include "gtest/gtest.h"

namespace vl2::gateway {
namespace {

constexpr size_t kBodyBytes = size_t{64} << 20;
constexpr double kMaxCpuSeconds = 2;
constexpr long kMaxKibAboveBody = 256 << 10;

// A body of 64 MiB: `unit` repeated between `begin` and `end`.
struct Shape {
  const char* name;
  std::string begin;
  std::string unit;
  std::string end;

  std::string Body() const {
    std::string body;
    body.reserve(kBodyBytes);
    body += begin;
    while (body.size() + unit.size() + end.size() <= kBodyBytes) body += unit;
    body += end;
    return body;
  }
};

constexpr char kUser[] = R"({"messages":[{"role":"user","content":)";
constexpr char kUrl[] =
    R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":")";

const std::vector<Shape>& Shapes() {
  static const auto* const shapes = new std::vector<Shape>{
      {"deep nesting", "{\"x\":", "[", ""},
      {"wide arrays", "{\"x\":[[]", ",[]", "]}"},
      {"many keys", "{\"a\":0", ",\"abcdefgh\":0", "}"},
      {"many empty strings", "{\"x\":[\"\"", ",\"\"", "]}"},
      {"long numbers", "{\"x\":[0", "," + std::string(990, '9'), "]}"},
      {"one long number", "{\"n\":1", "1", "}"},
      {"long fractions", "{\"x\":[0", ",0." + std::string(990, '3'), "]}"},
      {"duplicate keys", "{\"messages\":[]", ",\"messages\":[]", "}"},
      {"text", std::string(kUser) + "\"", "word ", "\"}]}"},
      {"escaped text", std::string(kUser) + "\"", "\\u20ac", "\"}]}"},
      {"text parts", std::string(kUser) + "[{\"type\":\"text\",\"text\":\"x\"}",
       ",{\"type\":\"text\",\"text\":\"x\"}", "]}]}"},
      {"big text parts", std::string(kUser) + "[{\"type\":\"text\",\"text\":\"x\"}",
       ",{\"type\":\"text\",\"text\":\"" + std::string(2000, ' ') + "\"}", "]}]}"},
      {"messages", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}",
       ",{\"role\":\"user\",\"content\":\"x\"}", "]}"},
      {"an image", kUrl + std::string("data:;base64,"), "QUJD", "\"}}]}]}"},
      {"an image in lines", kUrl + std::string("data:;base64,"), "QU\\r\\nJD", "\"}}]}]}"},
      {"an image in escapes", kUrl + std::string("data:;base64,"), "%51%55%4a%44", "\"}}]}]}"},
      {"an image with escaped slashes", kUrl + std::string("data:;base64,"), "\\/\\/\\/\\/",
       "\"}}]}]}"},
      {"an image as it is", kUrl + std::string("data:,"), "%4", "\"}}]}]}"},
      {"an image of padding", kUrl + std::string("data:;base64,"), "=", "\"}}]}]}"},
      {"an image of spaces", kUrl + std::string("data:;base64,QUJD"), " ", "\"}}]}]}"},
      {"a data URI without a comma", kUrl + std::string("data:"), ";base64", "\"}}]}]}"},
      {"an address", kUrl + std::string("https://example.com/"), "x", "\"}}]}]}"},
      {"a role", R"({"messages":[{"role":")", "x", R"(","content":"x"}]})"},
      {"a type", R"({"messages":[{"role":"user","content":[{"type":")", "x", "\"}]}]}"},
      {"a detail", kUrl + std::string(R"(data:,x","detail":")"), "x", "\"}}]}]}"},
      {"a model", "{\"model\":\"", "x", "\"}"},
      {"a model of euros", "{\"model\":\"", "\xe2\x82\xac", "\"}"},
      {"a stop string", R"({"messages":[{"role":"user","content":"x"}],"stop":")", "x", "\"}"},
      {"a key of logit_bias", "{\"logit_bias\":{\"", "1", "\":1}}"},
      {"a key", "{\"", "x", "\":1}"},
      {"no JSON", "", "x", ""},
      {"an open string", "{\"x\":\"", "x", ""},
      {"a bad escape at the end", "{\"x\":\"", "x", "\\x\"}"},
  };
  return *shapes;
}

struct Cost {
  double cpu_seconds = 0;
  long peak_kib = 0;
  size_t error_bytes = 0;
};

// Reads the body in a child, so that its memory starts from nothing.
Cost CostOf(const Shape& shape) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    RequestDefaults defaults;
    defaults.model_name = "tiny";
    const auto request = ParseChatRequest(shape.Body(), defaults);
    const size_t error_bytes = request.ok() ? 0 : ErrorBody(request.status()).size();
    _exit(write(ends[1], &error_bytes, sizeof(error_bytes)) == sizeof(error_bytes) ? 0 : 1);
  }
  Cost cost;
  rusage usage{};
  int status = 0;
  EXPECT_EQ(wait4(child, &status, 0, &usage), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(read(ends[0], &cost.error_bytes, sizeof(cost.error_bytes)),
            static_cast<ssize_t>(sizeof(cost.error_bytes)));
  close(ends[0]);
  close(ends[1]);
  cost.cpu_seconds = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  cost.peak_kib = usage.ru_maxrss;
  return cost;
}

TEST(ChatRequestCost, EveryShapeStaysWithinTimeAndMemory) {
  const Cost nothing = CostOf({"nothing", "", " ", ""});
  for (const Shape& shape : Shapes()) {
    SCOPED_TRACE(shape.name);
    const Cost cost = CostOf(shape);
    std::printf("%-32s %5.2f s %7ld KiB above the body, error of %zu bytes\n", shape.name,
                cost.cpu_seconds, cost.peak_kib - nothing.peak_kib, cost.error_bytes);
    EXPECT_LT(cost.cpu_seconds, kMaxCpuSeconds);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(cost.peak_kib - nothing.peak_kib, kMaxKibAboveBody);
#endif
    EXPECT_LT(cost.error_bytes, 1000u);
  }
}

}  // namespace
}  // namespace vl2::gateway
