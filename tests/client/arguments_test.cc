#include "client/arguments.h"

#include "client/exit_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

Arguments Parsed(const std::vector<std::string>& words) {
  auto arguments = ParseArguments(words, "");
  EXPECT_TRUE(arguments.ok()) << arguments.status();
  return arguments.ok() ? *arguments : Arguments{};
}

std::string Refusal(const std::vector<std::string>& words, const std::string& server = "") {
  const auto arguments = ParseArguments(words, server);
  EXPECT_EQ(arguments.status().code(), absl::StatusCode::kInvalidArgument);
  return Message(arguments.status());
}

TEST(Arguments, DefaultsLeaveTheChoiceToTheGateway) {
  const Arguments arguments = Parsed({"ask", "Hi"});
  EXPECT_EQ(arguments.command, Arguments::Command::kAsk);
  EXPECT_EQ(arguments.server, "127.0.0.1:50060");
  EXPECT_EQ(arguments.timeout_s, 600);
  EXPECT_EQ(arguments.ask.question, "Hi");
  EXPECT_THAT(arguments.ask.pictures, IsEmpty());
  EXPECT_EQ(arguments.ask.max_tokens, 512);
  EXPECT_FALSE(arguments.ask.temperature || arguments.ask.top_p || arguments.ask.top_k ||
               arguments.ask.repetition_penalty);
  EXPECT_EQ(arguments.ask.tiling, TilingChoice{});
}

TEST(Arguments, FlagsStandAnywhereInEitherForm) {
  const Arguments arguments =
      Parsed({"ask", "--max_tokens=7", "a.png", "--temperature", "0", "-", "--top-k=3", "--json",
              "--seed=18446744073709551615", "--", "--b.png", "Why?"});
  EXPECT_THAT(arguments.ask.pictures, ElementsAre("a.png", "-", "--b.png"));
  EXPECT_EQ(arguments.ask.question, "Why?");
  EXPECT_EQ(arguments.ask.max_tokens, 7);
  EXPECT_EQ(arguments.ask.temperature, 0.0);
  EXPECT_EQ(arguments.ask.top_k, 3);
  EXPECT_EQ(arguments.ask.seed, UINT64_MAX);
  EXPECT_TRUE(arguments.json);
}

TEST(Arguments, Tilings) {
  using Kind = TilingChoice::Kind;
  const auto tiling = [](const std::string& text) {
    return Parsed({"ask", "--tiling", text, "x"}).ask.tiling;
  };
  EXPECT_EQ(tiling("auto"), (TilingChoice{Kind::kAuto, 0, 0, 0}));
  EXPECT_EQ(tiling("best"), (TilingChoice{Kind::kBest, 0, 0, 0}));
  EXPECT_EQ(tiling("single"), (TilingChoice{Kind::kSingle, 0, 0, 0}));
  EXPECT_EQ(tiling("max:6"), (TilingChoice{Kind::kMaxTiles, 6, 0, 0}));
  EXPECT_EQ(tiling("2x3"), (TilingChoice{Kind::kFixed, 0, 2, 3}));
  for (const char* wrong : {"", "max:", "max:65", "x", "2x", "0x1", "2x3x4", "high"}) {
    EXPECT_THAT(Refusal({"ask", "--tiling", wrong, "x"}), HasSubstr("--tiling")) << wrong;
  }
}

TEST(Arguments, LogitBias) {
  EXPECT_THAT(Parsed({"ask", "--logit_bias", "5:100,7:-1.5", "x"}).ask.logit_bias,
              ElementsAre(Pair(5, 100), Pair(7, -1.5)));
  for (const char* wrong : {"5", "5:101", "x:1", "-1:1", "5:nan", "5:1,,"}) {
    EXPECT_THAT(Refusal({"ask", "--logit_bias", wrong, "x"}), HasSubstr("--logit_bias")) << wrong;
  }
}

TEST(Arguments, TheServerComesFromFlagThenEnvironment) {
  EXPECT_EQ(ParseArguments({"info"}, "a:1")->server, "a:1");
  EXPECT_EQ(ParseArguments({"info", "--server", "[::1]:2"}, "a:1")->server, "[::1]:2");
  EXPECT_THAT(Refusal({"info"}, "nonsense"), HasSubstr("VL2_SERVER"));
  EXPECT_THAT(Refusal({"info", "--server=x"}), HasSubstr("--server"));
}

TEST(Arguments, TlsIsOffWithoutAFileOfCas) {
  EXPECT_EQ(Parsed({"info"}).tls_ca, "");
  EXPECT_EQ(Parsed({"info", "--tls_ca=ca.pem"}).tls_ca, "ca.pem");
  EXPECT_THAT(Refusal({"ask", "--tls_ca", "", "x"}), HasSubstr("--tls_ca"));
}

TEST(Arguments, Help) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--help"}, {"help"}, {"ask", "-h"}, {"ask", "x", "--help"}}) {
    EXPECT_EQ(Parsed(words).command, Arguments::Command::kHelp);
  }
  EXPECT_EQ(Parsed({"ask", "--", "--help"}).ask.question, "--help");
  for (const char* each : {"--boxes", "--timings", "130 interrupted", "OUT-1.png"}) {
    EXPECT_THAT(HelpText(), HasSubstr(each));
  }
}

TEST(Arguments, Refusals) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "command"},
      {{"tell"}, "\"tell\""},
      {{"ask"}, "question"},
      {{"ask", ""}, "question"},
      {{"ask", "a.png", "-"}, "question"},
      {{"ask", "-", "-", "x"}, "standard input"},
      {{"ask", "", "x"}, "empty"},
      {{"ask", "-x", "x"}, "\"-x\""},
      {{"ask", "--nothing", "x"}, "--nothing"},
      {{"ask", "x", "--seed"}, "--seed needs N"},
      {{"ask", "--json=1", "x"}, "takes no value"},
      {{"ask", "--seed=-1", "x"}, "--seed"},
      {{"ask", "--samples=17", "x"}, "1 to 16"},
      {{"ask", "--max_tokens=1e3", "x"}, "--max_tokens"},
      {{"ask", "--temperature=warm", "x"}, "--temperature"},
      {{"ask", "--temperature=inf", "x"}, "--temperature"},
      {{"ask", "--timeout=0", "x"}, "--timeout"},
      {{"ask", "--timeout=nan", "x"}, "--timeout"},
      {{"ask", "--boxes=a.jpg", "p.png", "x"}, ".png"},
      {{"ask", "--boxes=a.png", "x"}, "needs a picture"},
      {{"info", "x"}, "flags only"},
      {{"info", "--seed=1"}, "no flag of info"},
  };
  for (const auto& [words, says] : cases) EXPECT_THAT(Refusal(words), HasSubstr(says));
}

TEST(ExitCode, EveryCodeHasOne) {
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kOk), kDone);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kUnavailable), kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kInvalidArgument), kRefused);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kResourceExhausted), kFull);
  EXPECT_EQ(ExitCodeOf(absl::StatusCode::kDeadlineExceeded), kTimedOut);
  for (int code = 1; code <= 16; ++code) {
    EXPECT_NE(ExitCodeOf(static_cast<absl::StatusCode>(code)), kDone) << code;
  }
}

}  // namespace
}  // namespace vl2::client
