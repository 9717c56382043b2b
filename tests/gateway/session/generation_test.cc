#include "gateway/session/generation.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/error_details.h"
#include "runtime/base/status.h"
#include "tests/gateway/session/manual_upstreams.h"

namespace vl2::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = Generation::State;

const Tokenizer& TestTokenizer() {
  static const auto* const tokenizer = new Tokenizer(
      *Tokenizer::Load(std::string(VL2_TEST_DATA) + "/golden/data/checkpoints/tiny_mha"));
  return *tokenizer;
}

std::vector<AnswerToken> Tokens(const std::string& text) {
  std::vector<AnswerToken> tokens;
  const std::vector<int32_t> ids = TestTokenizer().Encode(text).value();
  for (const int32_t id : ids) tokens.push_back({id, -0.5f, {}});
  return tokens;
}

struct RecordingSink final : Generation::Sink {
  void OnAccepted(const ChatAccepted&) override { calls.push_back("accepted"); }
  void OnSlotNeeded(int, EncodeTarget target) override { targets.push_back(std::move(target)); }
  void OnPrefill(const GeneratePrefill&) override { calls.push_back("prefill"); }
  void OnFirstToken() override { calls.push_back("first token"); }
  void OnOutput(int sample, Answer::Output output) override { texts.at(sample) += output.text; }
  void OnSampleEnd(const SampleEnd& end) override { ends.push_back(end); }
  void OnSequenceLost() override { calls.push_back("lost"); }
  void OnGenerationEnd(absl::Status status) override { ended.push_back(std::move(status)); }

  std::vector<std::string> calls;
  std::vector<EncodeTarget> targets;
  std::vector<std::string> texts = std::vector<std::string>(TaskLimits::kMaxSamples);
  std::vector<SampleEnd> ends;
  std::vector<absl::Status> ended;
};

class GenerationTest : public ::testing::Test {
 protected:
  Generation& Start(ChatTask task = ChatTask()) {
    task_ = std::move(task);
    std::vector<Answer> answers;
    for (int i = 0; i < task_.num_samples; ++i) {
      answers.push_back(*Answer::Create(&TestTokenizer(), task_));
    }
    generation_.emplace(&task_, 5, std::move(answers), &language_, thread_, &sink_);
    EXPECT_EQ(generation_->state(), State::kWaiting);
    generation_->Start(std::make_shared<std::vector<PromptSegment>>(
        std::vector<PromptSegment>{std::vector<int32_t>{1, 2, 3}}));
    return *generation_;
  }
  static ChatTask WithSamples(int num_samples) {
    ChatTask task;
    task.num_samples = num_samples;
    return task;
  }
  ManualGenerateStream& stream() { return *language_.streams.back(); }
  void Send(GenerateEvent event) {
    stream().sink(std::move(event));
    thread_->Run();
  }
  void Reach(State state) {
    if (state == State::kCalling) return;
    Send(GenerateAccepted{7, 12, 4, "lm:1"});
    if (state == State::kAnswering) Send(GenerateTokens{0, {Tokens("one two three")[0]}});
    ASSERT_EQ(generation_->state(), state);
  }

  ChatTask task_;
  std::shared_ptr<ManualThread> thread_ = std::make_shared<ManualThread>();
  ManualLanguage language_;
  RecordingSink sink_;
  std::optional<Generation> generation_;
};

TEST_F(GenerationTest, OneAnswerFromCallToEnd) {
  Generation& generation = Start();
  EXPECT_EQ(generation.state(), State::kCalling);
  Send(GenerateAccepted{7, 12, 4, ""});
  EXPECT_EQ(generation.state(), State::kPrefilling);
  Send(GeneratePrefill{6, 12});
  Send(GenerateSlotNeeded{0, 64, "secret"});
  ASSERT_EQ(sink_.targets.size(), 1u);
  EXPECT_EQ(sink_.targets[0].address, "lm0") << "a service without an address of its own";
  EXPECT_EQ(sink_.targets[0].sequence_id, 7u);
  EXPECT_EQ(sink_.targets[0].first_embedding, 64);
  EXPECT_EQ(sink_.targets[0].upload_token, "secret");
  Send(GenerateTokens{0, Tokens("Hello ")});
  EXPECT_EQ(generation.state(), State::kAnswering);
  Send(GenerateTokens{0, Tokens("world")});
  Send(GenerateSampleEnd{0, FinishReason::kLength});
  EXPECT_EQ(generation.state(), State::kEnded);
  EXPECT_THAT(sink_.calls, ElementsAre("accepted", "prefill", "first token"));
  EXPECT_EQ(sink_.texts[0], "Hello world");
  EXPECT_THAT(sink_.ended, ElementsAre(absl::OkStatus()));
  Send(GenerateClosed{absl::UnavailableError("killed")});
  EXPECT_EQ(sink_.ended.size(), 1u) << "nothing follows the end";
}

TEST_F(GenerationTest, TheEndWaitsForAllSamples) {
  Start(WithSamples(2));
  Reach(State::kPrefilling);
  Send(GenerateSampleEnd{1, FinishReason::kStop});
  EXPECT_TRUE(sink_.ended.empty());
  Send(GenerateSampleEnd{0, FinishReason::kStop});
  EXPECT_EQ(sink_.ended.size(), 1u);
  EXPECT_EQ(sink_.ends.size(), 2u);
}

TEST_F(GenerationTest, AStopStringEndsItFromHere) {
  ChatTask task;
  task.stop = {" two"};
  Start(task);
  Send(GenerateTokens{0, Tokens("one two three")});
  EXPECT_EQ(sink_.texts[0], "one");
  EXPECT_THAT(sink_.ended, ElementsAre(absl::OkStatus()));
  EXPECT_EQ(generation_->state(), State::kEnded);
}

// ---- Faults ----

TEST_F(GenerationTest, ALostReplicaIsReplacedInEachState) {
  for (const State state : {State::kCalling, State::kPrefilling, State::kAnswering}) {
    language_ = ManualLanguage();
    sink_ = RecordingSink();
    Generation& generation = Start();
    Reach(state);
    Send(GenerateClosed{absl::UnavailableError("killed")});
    EXPECT_EQ(generation.state(), State::kLost);
    EXPECT_EQ(sink_.calls.back(), "lost");
    EXPECT_EQ(language_.calls.size(), 1u) << "after a pause";
    const std::string text = sink_.texts[0];
    Send(GenerateTokens{0, Tokens("more")});
    EXPECT_EQ(sink_.texts[0], text) << "the lost one is not heard";
    thread_->RunLater();
    EXPECT_EQ(generation.state(), State::kCalling);
    ASSERT_EQ(language_.calls.size(), 2u);
    EXPECT_THAT(language_.calls[1].avoid, ElementsAre("lm0"));
  }
}

TEST_F(GenerationTest, TheNextReplicaIsGivenTheTokensSoFar) {
  Start();
  Reach(State::kAnswering);
  Send(GenerateClosed{absl::AbortedError("killed")});
  thread_->RunLater();
  ASSERT_EQ(language_.calls.size(), 2u);
  EXPECT_THAT(language_.calls[1].generated_prefix, ElementsAre(Tokens("one two three")[0].id));
  Send(GenerateAccepted{8, 13, 0, "lm:2"});
  EXPECT_THAT(sink_.calls, ElementsAre("accepted", "first token", "lost")) << "told once";
  Send(GenerateSlotNeeded{0, 0, "secret"});
  EXPECT_EQ(sink_.targets.back().address, "lm:2");
  EXPECT_EQ(sink_.targets.back().sequence_id, 8u);
}

TEST_F(GenerationTest, SeveralSamplesAreDrawnAgainAndLeftOut) {
  Start(WithSamples(2));
  Send(GenerateTokens{0, Tokens("first")});
  Send(GenerateClosed{absl::CancelledError("killed")});
  thread_->RunLater();
  EXPECT_TRUE(language_.calls.at(1).generated_prefix.empty());
  Send(GenerateTokens{0, Tokens("first")});
  Send(GenerateSampleEnd{0, FinishReason::kStop});
  Send(GenerateTokens{1, Tokens("second")});
  Send(GenerateSampleEnd{1, FinishReason::kStop});
  EXPECT_EQ(sink_.texts[0], "first");
  EXPECT_EQ(sink_.texts[1], "second");
  EXPECT_EQ(generation_->num_generated_tokens(),
            static_cast<int64_t>(Tokens("first").size() + Tokens("second").size()));
}

TEST_F(GenerationTest, ALossBehindTheLastTokenIsTheEnd) {
  for (const bool by_context : {false, true}) {
    language_ = ManualLanguage();
    sink_ = RecordingSink();
    ChatTask task;
    const auto num_tokens = static_cast<int64_t>(Tokens("done").size());
    if (by_context) {
      language_.context = 12 + num_tokens;
    } else {
      task.max_new_tokens = num_tokens;
    }
    Start(task);
    Reach(State::kPrefilling);
    Send(GenerateTokens{0, Tokens("done")});
    Send(GenerateClosed{absl::UnavailableError("killed")});
    thread_->RunLater();
    EXPECT_EQ(language_.calls.size(), 1u);
    EXPECT_THAT(sink_.ended, ElementsAre(absl::OkStatus()));
    EXPECT_EQ(sink_.ends.at(0).reason, FinishReason::kLength);
  }
}

TEST_F(GenerationTest, FailuresInARowAreLimited) {
  language_.refusal = absl::UnavailableError("no replica");
  Start();
  for (int i = 0; i < 20; ++i) thread_->RunLater();
  EXPECT_EQ(static_cast<int>(language_.calls.size()), RetryPolicy::kMaxEarlyFailures + 1);
  ASSERT_EQ(sink_.ended.size(), 1u);
  EXPECT_THAT(Message(sink_.ended[0]), HasSubstr("language: no replica"));
}

TEST_F(GenerationTest, ATokenStartsTheCountAnew) {
  ChatTask task;
  Start(task);
  for (int i = 0; i < 30; ++i) {
    Send(GenerateTokens{0, {Tokens("x")[0]}});
    Send(GenerateClosed{absl::UnavailableError("killed")});
    thread_->RunLater();
  }
  EXPECT_EQ(generation_->state(), State::kCalling);
  EXPECT_EQ(thread_->pauses.back(), std::chrono::milliseconds(50));
}

TEST_F(GenerationTest, AFullReplicaIsAskedAgainOnceAndNeverAfterTheFirstToken) {
  Start();
  Send(GenerateClosed{absl::ResourceExhaustedError("full")});
  thread_->RunLater();
  EXPECT_EQ(language_.calls.size(), 2u);
  Send(GenerateClosed{absl::ResourceExhaustedError("full")});
  ASSERT_EQ(sink_.ended.size(), 1u);
  EXPECT_TRUE(absl::IsResourceExhausted(sink_.ended[0]));

  sink_ = RecordingSink();
  Start();
  Reach(State::kAnswering);
  Send(GenerateClosed{absl::ResourceExhaustedError("full")});
  EXPECT_EQ(sink_.ended.size(), 1u);
}

TEST_F(GenerationTest, WhatTheServiceRefusesIsToldAsItIs) {
  Start();
  Send(GenerateClosed{ParamError("logit_bias", "no such token")});
  ASSERT_EQ(sink_.ended.size(), 1u);
  EXPECT_EQ(ParamOf(sink_.ended[0]), "logit_bias");
}

TEST_F(GenerationTest, ARefusedFieldIsNamed) {
  for (const auto& [message, field] :
       {std::pair("logit_bias: token 99999 is outside [0, 544)", "logit_bias"),
        std::pair("top_p 2 is outside [0, 1]", "top_p"), std::pair("logit_biases", ""),
        std::pair("the prompt is empty", "")}) {
    sink_.ended.clear();
    Start();
    Send(GenerateClosed{absl::InvalidArgumentError(message)});
    ASSERT_EQ(sink_.ended.size(), 1u);
    EXPECT_TRUE(absl::IsInvalidArgument(sink_.ended[0]));
    EXPECT_EQ(ParamOf(sink_.ended[0]), field);
    EXPECT_EQ(Message(sink_.ended[0]), message);
  }
}

TEST_F(GenerationTest, AServiceThatBreaksTheContractEndsIt) {
  const std::pair<GenerateEvent, std::string> wrong[] = {
      {GenerateTokens{1, Tokens("x")}, "sent sample 1 of 1"},
      {GenerateTokens{-1, Tokens("x")}, "sent sample -1"},
      {GenerateSampleEnd{1, FinishReason::kStop}, "ended sample 1 of 1"},
      {GenerateClosed{absl::OkStatus()}, "without an answer"},
  };
  for (const auto& [event, says] : wrong) {
    sink_ = RecordingSink();
    Start();
    Send(event);
    ASSERT_EQ(sink_.ended.size(), 1u) << says;
    EXPECT_TRUE(absl::IsInternal(sink_.ended[0]));
    EXPECT_THAT(Message(sink_.ended[0]), HasSubstr(says));
  }
}

TEST_F(GenerationTest, AReplacedReplicaIsCancelledAndNotHeard) {
  Start();
  Reach(State::kPrefilling);
  generation_->Replace(absl::UnavailableError("nothing gets in"));
  EXPECT_EQ(generation_->state(), State::kLost);
  EXPECT_EQ(language_.streams[0]->num_cancelled, 1);
  Send(GenerateTokens{0, Tokens("x")});
  EXPECT_EQ(sink_.texts[0], "");
  thread_->RunLater();
  ASSERT_EQ(language_.calls.size(), 2u);
  EXPECT_THAT(language_.calls[1].avoid, ElementsAre("lm0"));
}

TEST_F(GenerationTest, CancelIsFinal) {
  Start();
  Reach(State::kAnswering);
  Send(GenerateClosed{absl::UnavailableError("killed")});
  generation_->Cancel();
  EXPECT_EQ(generation_->state(), State::kEnded);
  thread_->RunLater();
  EXPECT_EQ(language_.calls.size(), 1u);
}

TEST_F(GenerationTest, LikesTheReplicaThatMayHaveThePrefix) {
  const auto affinity = [this](std::vector<PromptSegment> segments, const std::string& salt) {
    task_ = ChatTask();
    task_.cache_salt = salt;
    std::vector<Answer> answers;
    answers.push_back(*Answer::Create(&TestTokenizer(), task_));
    Generation generation(&task_, 5, std::move(answers), &language_, thread_, &sink_);
    generation.Start(std::make_shared<std::vector<PromptSegment>>(std::move(segments)));
    return language_.calls.back().affinity;
  };
  using Ids = std::vector<int32_t>;
  const uint64_t image = affinity({Ids{1}, PromptImage{"key", 421}, Ids{2}}, "");
  EXPECT_EQ(image, affinity({Ids{9}, PromptImage{"key", 421}, Ids{3, 4}}, ""));
  EXPECT_NE(image, affinity({Ids{1}, PromptImage{"other", 421}, Ids{2}}, ""));
  EXPECT_NE(image, affinity({Ids{1}, PromptImage{"key", 421}, Ids{2}}, "salt"));
  EXPECT_EQ(affinity({Ids(64, 1)}, ""), affinity({Ids(70, 1)}, ""));
  EXPECT_NE(affinity({Ids{1}}, ""), affinity({Ids{2}}, ""));
}

}  // namespace
}  // namespace vl2::gateway
