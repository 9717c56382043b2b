#include "gateway/session/chat_session.h"

#include <atomic>
#include <future>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/error_details.h"
#include "tests/gateway/session/fake_upstreams.h"

namespace vl2::gateway {
namespace {

using ::testing::HasSubstr;

const Tokenizer& TestTokenizer() {
  static const auto* const tokenizer = new Tokenizer(
      *Tokenizer::Load(std::string(VL2_TEST_DATA) + "/golden/data/checkpoints/tiny_mha"));
  return *tokenizer;
}

class ChatSessionTest : public ::testing::Test {
 protected:
  ChatSessionTest() {
    backend_.tokenizer = &TestTokenizer();
    backend_.vision = &vision_;
    backend_.language = &language_;
    backend_.timers = &timers_;
  }

  static ChatTask Ask(const std::string& text, int num_images = 0) {
    ChatTask task;
    ChatMessage message;
    for (int i = 0; i < num_images; ++i) {
      message.parts.push_back(ContentPart::Image());
      TaskImage image;
      image.bytes = std::make_shared<const std::string>("picture " + std::to_string(i));
      task.images.push_back(std::move(image));
    }
    message.parts.push_back(ContentPart::Text(text));
    task.messages.push_back(std::move(message));
    task.request_id = "test";
    return task;
  }

  static std::vector<AnswerToken> Tokens(const std::string& text) {
    std::vector<AnswerToken> tokens;
    const std::vector<int32_t> ids = TestTokenizer().Encode(text).value();
    for (const int32_t id : ids) tokens.push_back({id, -0.5f, {}});
    return tokens;
  }

  const ChatEnd& Run(ChatTask task) {
    session_ = ChatSession::Start(backend_, std::move(task), log_.sink());
    return log_.End();
  }

  TimerQueue timers_;
  FakeVision vision_{&events_};
  FakeLanguage language_{&events_};
  ChatBackend backend_;
  EventLog log_;
  std::shared_ptr<ChatSession> session_;
  EventThread events_;  // last: nothing happens any more when the others go
};

TEST_F(ChatSessionTest, TextInTextOut) {
  language_.script = [](int, const GenerateCall& call, const GenerateSink& sink) {
    EXPECT_EQ(call.segments->size(), 1u);
    sink(GenerateAccepted{7, 12, 4, "lm:1"});
    sink(GenerateTokens{0, Tokens("Hello ")});
    sink(GenerateTokens{0, Tokens("world")});
    sink(GenerateSampleEnd{0, FinishReason::kLength});
    sink(GenerateClosed{absl::OkStatus()});
  };
  const ChatEnd& end = Run(Ask("Hi"));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(log_.Text(), "Hello world");
  EXPECT_EQ(end.prompt_tokens, 12);
  EXPECT_EQ(end.cached_tokens, 4);
  EXPECT_EQ(log_.All<SampleEnd>().at(0).reason, FinishReason::kLength);
}

TEST_F(ChatSessionTest, PicturesAreDeliveredWhereTheyAreNeeded) {
  GenerateSink sink;
  language_.script = [&](int, const GenerateCall& call, const GenerateSink& given) {
    sink = given;
    ASSERT_EQ(call.segments->size(), 3u);
    const auto& image = std::get<PromptImage>((*call.segments)[1]);
    EXPECT_EQ(image.content_key, "key of picture 0");
    EXPECT_EQ(image.num_embeddings, 1023);
    sink(GenerateAccepted{7, 1100, 0, "lm:1"});
    sink(GenerateSlotNeeded{0, 64, "secret"});
  };
  vision_.on_delivered = [&] {
    sink(GenerateTokens{0, Tokens("<|ref|>dog<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>")});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  const ChatEnd& end = Run(Ask("What is it?", 1));
  ASSERT_TRUE(end.status.ok()) << end.status;
  ASSERT_EQ(vision_.targets.size(), 1u);
  EXPECT_EQ(vision_.targets[0].address, "lm:1");
  EXPECT_EQ(vision_.targets[0].sequence_id, 7u);
  EXPECT_EQ(vision_.targets[0].first_embedding, 64);
  EXPECT_EQ(vision_.targets[0].upload_token, "secret");
  EXPECT_EQ(vision_.num_prepared, 1);
  ASSERT_EQ(log_.All<BoxesFound>().size(), 1u);
  EXPECT_EQ(log_.All<BoxesFound>()[0].image_width, 640);
  EXPECT_EQ(end.encode_ms, 5);
}

TEST_F(ChatSessionTest, ThreePicturesHaveOneTileEach) {
  vision_.layout = {640, 480, 1, 1, 421};
  language_.script = [](int, const GenerateCall&, const GenerateSink& sink) {
    sink(GenerateClosed{absl::InvalidArgumentError("enough seen")});
  };
  Run(Ask("?", 3));
  ASSERT_EQ(vision_.requests.size(), 3u);
  EXPECT_EQ(vision_.requests[2].image.tiling.kind, TilingChoice::Kind::kSingleTile);
}

TEST_F(ChatSessionTest, WhatCannotFitIsRefusedBeforeEncoding) {
  vision_.layout = {3000, 3000, 3, 3, 2101};
  const ChatEnd& end = Run(Ask("Compare.", 2));
  EXPECT_TRUE(absl::IsInvalidArgument(end.status)) << end.status;
  EXPECT_EQ(ReasonOf(end.status), "context_length_exceeded");
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("4095"));
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("the prompt has 42"));
  EXPECT_EQ(vision_.num_prepared, 0);
  EXPECT_TRUE(language_.calls.empty());
  EXPECT_EQ(vision_.num_cancelled, 2);
}

TEST_F(ChatSessionTest, StopStringEndsTheUpstreamCall) {
  language_.script = [](int, const GenerateCall&, const GenerateSink& sink) {
    sink(GenerateAccepted{1, 5, 0, ""});
    sink(GenerateTokens{0, Tokens("one. two. three.")});
    // No end: the service would go on.
  };
  ChatTask task = Ask("Count.");
  task.stop = {" two"};
  const ChatEnd& end = Run(std::move(task));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(log_.Text(), "one.");
  EXPECT_EQ(language_.num_cancelled, 1);
}

TEST_F(ChatSessionTest, ALostLanguageReplicaIsNotALostAnswer) {
  const std::string text = "The quick brown fox";
  language_.script = [&](int index, const GenerateCall& call, const GenerateSink& sink) {
    sink(GenerateAccepted{1, 5, 0, ""});
    const auto tokens = Tokens(text);
    if (index == 0) {
      sink(GenerateTokens{0, {tokens.begin(), tokens.begin() + 3}});
      sink(GenerateClosed{absl::UnavailableError("killed")});
      return;
    }
    ASSERT_EQ(call.generated_prefix.size(), 3u);
    EXPECT_EQ(call.generated_prefix[2], tokens[2].id);
    EXPECT_THAT(call.avoid, ::testing::ElementsAre("lm1"));
    sink(GenerateTokens{0, {tokens.begin() + 3, tokens.end()}});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  const ChatEnd& end = Run(Ask("Say it."));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(log_.Text(), text);
  EXPECT_EQ(end.generated_tokens, static_cast<int64_t>(Tokens(text).size()));
}

TEST_F(ChatSessionTest, SeveralSamplesAreDrawnAgainAndNotToldTwice) {
  language_.script = [&](int index, const GenerateCall& call, const GenerateSink& sink) {
    EXPECT_TRUE(call.generated_prefix.empty());
    sink(GenerateAccepted{1, 5, 0, ""});
    sink(GenerateTokens{0, Tokens("first")});
    if (index == 0) return sink(GenerateClosed{absl::UnavailableError("killed")});
    sink(GenerateTokens{1, Tokens("second")});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
    sink(GenerateSampleEnd{1, FinishReason::kStop});
  };
  ChatTask task = Ask("Say it.");
  task.num_samples = 2;
  const ChatEnd& end = Run(std::move(task));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(log_.Text(0), "first");
  EXPECT_EQ(log_.Text(1), "second");
}

TEST_F(ChatSessionTest, LossAfterTheLastTokenEndsTheAnswer) {
  language_.script = [&](int, const GenerateCall&, const GenerateSink& sink) {
    sink(GenerateAccepted{1, 5, 0, ""});
    sink(GenerateTokens{0, Tokens("done")});
    sink(GenerateClosed{absl::UnavailableError("killed")});
  };
  ChatTask task = Ask("Say it.");
  task.max_new_tokens = static_cast<int64_t>(Tokens("done").size());
  const ChatEnd& end = Run(std::move(task));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(language_.calls.size(), 1u);
  EXPECT_EQ(log_.All<SampleEnd>().at(0).reason, FinishReason::kLength);
}

TEST_F(ChatSessionTest, ALostVisionReplicaIsReplaced) {
  GenerateSink sink;
  language_.script = [&](int, const GenerateCall&, const GenerateSink& given) {
    sink = given;
    sink(GenerateAccepted{7, 1100, 0, "lm:1"});
    sink(GenerateSlotNeeded{0, 0, "secret"});
  };
  vision_.deliveries = {absl::UnavailableError("killed")};
  vision_.on_delivered = [&] {
    sink(GenerateTokens{0, Tokens("ok")});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  const ChatEnd& end = Run(Ask("?", 1));
  EXPECT_TRUE(end.status.ok()) << end.status;
  ASSERT_EQ(vision_.requests.size(), 2u);
  EXPECT_THAT(vision_.requests[1].avoid, ::testing::ElementsAre("vision1"));
  EXPECT_EQ(vision_.targets.size(), 2u);
}

TEST_F(ChatSessionTest, ALanguageReplicaThatVisionCannotReachIsReplaced) {
  GenerateSink sink;
  language_.script = [&](int index, const GenerateCall& call, const GenerateSink& given) {
    sink = given;
    EXPECT_EQ(call.avoid.size(), static_cast<size_t>(index)) << "the first is left out afterwards";
    sink(GenerateAccepted{7, 1100, 0, "lm:" + std::to_string(index)});
    sink(GenerateSlotNeeded{0, 0, "secret"});
  };
  // Two vision services find it closed, as a language service that is being drained is.
  vision_.deliveries = {absl::UnavailableError("draining"), absl::UnavailableError("draining")};
  vision_.on_delivered = [&] {
    sink(GenerateTokens{0, Tokens("ok")});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  const ChatEnd& end = Run(Ask("?", 1));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(language_.calls.size(), 2u);
  EXPECT_EQ(language_.num_cancelled, 2) << "the lost one, and the other at the end";
  ASSERT_EQ(vision_.targets.size(), 3u);
  EXPECT_EQ(vision_.targets[2].address, "lm:1");
  EXPECT_EQ(log_.Text(), "ok");
}

TEST_F(ChatSessionTest, ARefusedDeliveryIsALostOne) {
  GenerateSink sink;
  language_.script = [&](int index, const GenerateCall&, const GenerateSink& given) {
    sink = given;
    sink(GenerateAccepted{7, 1100, 0, "lm:" + std::to_string(index)});
    sink(GenerateSlotNeeded{0, 0, "secret"});
  };
  // Vision does not know the replica (yet, or any more); then another process has taken its
  // address.
  vision_.deliveries = {absl::PermissionDeniedError("may not be sent to lm:0"),
                        absl::FailedPreconditionError("model_id is another")};
  vision_.on_delivered = [&] {
    sink(GenerateTokens{0, Tokens("ok")});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  const ChatEnd& end = Run(Ask("?", 1));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(language_.calls.size(), 2u);
  EXPECT_EQ(log_.Text(), "ok");
}

TEST_F(ChatSessionTest, ABegunAnswerStaysWithWhatComputesTheSameBits) {
  backend_.admit = [](bool) { return "model"; };
  language_.script = [&](int index, const GenerateCall& call, const GenerateSink& sink) {
    EXPECT_EQ(call.model_id, "model");
    EXPECT_EQ(call.pool, index < 2 ? "" : "pool") << index;
    if (index == 0) return sink(GenerateClosed{absl::UnavailableError("killed")});
    sink(GenerateAccepted{1, 5, 0, ""});
    sink(GenerateTokens{0, Tokens(index == 1 ? "one" : " two")});
    if (index == 1) return sink(GenerateClosed{absl::UnavailableError("killed")});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  const ChatEnd& end = Run(Ask("Say it."));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(log_.Text(), "one two");
}

TEST_F(ChatSessionTest, ARequestWhosePoolGoesAwayBeginsAgainInAnother) {
  std::atomic<bool> old_is_there{true};
  backend_.admit = [&](bool with_images) {
    EXPECT_TRUE(with_images);
    return old_is_there ? "old" : "new";
  };
  GenerateSink sink;
  language_.script = [&](int, const GenerateCall& call, const GenerateSink& given) {
    if (call.model_id == "old") {
      old_is_there = false;
      return given(GenerateClosed{absl::UnavailableError("no replica of the language service")});
    }
    sink = given;
    sink(GenerateAccepted{7, 1100, 0, "lm:1"});
    sink(GenerateSlotNeeded{0, 0, "secret"});
  };
  vision_.on_delivered = [&] {
    sink(GenerateTokens{0, Tokens("ok")});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  const ChatEnd& end = Run(Ask("?", 1));
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(log_.Text(), "ok");
  EXPECT_EQ(vision_.requests.front().model_id, "old");
  EXPECT_EQ(vision_.requests.back().model_id, "new");
  EXPECT_EQ(vision_.requests.size(), 2u);
}

TEST_F(ChatSessionTest, ABegunAnswerIsNotBegunAgainElsewhere) {
  std::atomic<bool> old_is_there{true};
  backend_.admit = [&](bool) { return old_is_there ? "old" : "new"; };
  language_.script = [&](int index, const GenerateCall& call, const GenerateSink& sink) {
    EXPECT_EQ(call.model_id, "old");
    if (index == 0) {
      sink(GenerateAccepted{1, 5, 0, ""});
      sink(GenerateTokens{0, Tokens("half")});
      old_is_there = false;
    }
    sink(GenerateClosed{absl::InvalidArgumentError("final")});
  };
  EXPECT_FALSE(Run(Ask("Say it.")).status.ok());
  EXPECT_EQ(log_.Text(), "half");
}

TEST_F(ChatSessionTest, ReplicasThatAreAwayAreWaitedFor) {
  std::atomic<int> num_asked{0};
  std::atomic<int64_t> num_waiting{0};
  backend_.num_waiting = &num_waiting;
  backend_.replica_wait = std::chrono::milliseconds(60'000);
  backend_.admit = [&](bool) -> absl::StatusOr<std::string> {
    if (++num_asked > 1) {
      EXPECT_EQ(num_waiting, 1);
    }
    if (num_asked < 4) return absl::UnavailableError("no replica");
    return "model";
  };
  language_.script = [&](int, const GenerateCall&, const GenerateSink& sink) {
    EXPECT_EQ(num_waiting, 0);
    sink(GenerateAccepted{1, 5, 0, ""});
    sink(GenerateSampleEnd{0, FinishReason::kStop});
  };
  EXPECT_TRUE(Run(Ask("Hi")).status.ok());
  EXPECT_EQ(num_asked, 4);
}

TEST_F(ChatSessionTest, ReplicasAreNotWaitedForLongerThanSaid) {
  std::atomic<int64_t> num_waiting{0};
  backend_.num_waiting = &num_waiting;
  backend_.replica_wait = std::chrono::milliseconds(80);
  backend_.admit = [&](bool) { return absl::UnavailableError("no replica"); };
  EXPECT_TRUE(absl::IsUnavailable(Run(Ask("Hi")).status));
  EXPECT_EQ(num_waiting, 0);
  EXPECT_GE(log_.End().total_ms, 80);
}

TEST_F(ChatSessionTest, ABadPictureIsTheClientsFault) {
  vision_.opens = {absl::InvalidArgumentError("not a picture")};
  const ChatEnd& end = Run(Ask("?", 1));
  EXPECT_TRUE(absl::IsInvalidArgument(end.status)) << end.status;
  EXPECT_EQ(ReasonOf(end.status), "invalid_image");
  EXPECT_EQ(vision_.requests.size(), 1u);
}

TEST_F(ChatSessionTest, APictureThatTurnsOutBrokenIsTheClientsFaultToo) {
  language_.script = [&](int, const GenerateCall&, const GenerateSink& sink) {
    sink(GenerateAccepted{7, 1100, 0, "lm:1"});
    sink(GenerateSlotNeeded{0, 0, "secret"});
  };
  vision_.deliveries = {absl::InvalidArgumentError("PNG is truncated")};
  const ChatEnd& end = Run(Ask("?", 1));
  EXPECT_TRUE(absl::IsInvalidArgument(end.status)) << end.status;
  EXPECT_EQ(ReasonOf(end.status), "invalid_image");
  EXPECT_EQ(ParamOf(end.status), "messages");
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("picture 0: PNG is truncated"));
  EXPECT_EQ(vision_.requests.size(), 1u);
}

TEST_F(ChatSessionTest, ATextThatCannotFitIsRefusedWithTheLeastCount) {
  const ChatEnd& end = Run(Ask("x" + std::string(15 << 20, 'y')));
  EXPECT_EQ(ReasonOf(end.status), "context_length_exceeded");
  EXPECT_EQ(ParamOf(end.status), "messages");
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("at least"));
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("the limit is 4096"));
}

TEST_F(ChatSessionTest, FailuresAreNotRepeatedForever) {
  language_.script = [](int, const GenerateCall&, const GenerateSink& sink) {
    sink(GenerateClosed{absl::UnavailableError("down")});
  };
  const ChatEnd& end = Run(Ask("Hi"));
  EXPECT_TRUE(absl::IsUnavailable(end.status)) << end.status;
  EXPECT_EQ(static_cast<int>(language_.calls.size()), ChatSession::kMaxEarlyFailures + 1);
}

TEST_F(ChatSessionTest, CancelAndDeadlineEndIt) {
  language_.script = [](int, const GenerateCall&, const GenerateSink& sink) {
    sink(GenerateAccepted{1, 5, 0, ""});
  };
  ChatTask task = Ask("Hi");
  task.deadline = Clock::now() + std::chrono::milliseconds(50);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Run(std::move(task)).status));
  EXPECT_EQ(language_.num_cancelled, 1);

  EventLog log;
  const auto session = ChatSession::Start(backend_, Ask("Hi"), log.sink());
  session->Cancel();
  EXPECT_TRUE(absl::IsCancelled(log.End().status));
}

}  // namespace
}  // namespace vl2::gateway
