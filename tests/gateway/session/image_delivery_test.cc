#include "gateway/session/image_delivery.h"

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
using State = ImageDelivery::State;

struct RecordingSink final : ImageDelivery::Sink {
  void OnLayout() override { calls.push_back("layout"); }
  void OnKey() override { calls.push_back("key"); }
  void OnImageProgress() override { calls.push_back("progress"); }
  void OnUndeliverable(const absl::Status&) override { calls.push_back("undeliverable"); }
  void OnImageFailed(absl::Status status) override { failures.push_back(std::move(status)); }

  std::vector<std::string> calls;
  std::vector<absl::Status> failures;
};

class ImageDeliveryTest : public ::testing::Test {
 protected:
  static ImageRequest Request() {
    ImageRequest request;
    request.request_id = "test";
    return request;
  }
  ManualImageStream& stream() { return *vision_.streams.back(); }
  void Send(ImageEvent event) {
    stream().sink(std::move(event));
    thread_->Run();
  }
  void SendDelivered(const absl::Status& status) {
    Send(ImageDelivered{stream().targets.back().delivery_id, status, 5});
  }
  static EncodeTarget Target(const std::string& address) {
    EncodeTarget target;
    target.address = address;
    target.sequence_id = 7;
    target.first_embedding = 64;
    target.upload_token = "secret";
    return target;
  }
  // Brings the image into a state by events.
  void Reach(State state) {
    image_.Open();
    if (state == State::kOpening) return;
    Send(ImageLayout{640, 480, 2, 2, 1023});
    Send(ImageKey{"key", false});
    if (state == State::kDelivering) image_.Need(Target("lm:1"));
    if (state == State::kIdle) Send(ImageClosed{absl::OkStatus()});
    ASSERT_EQ(image_.state(), state);
  }

  std::shared_ptr<ManualThread> thread_ = std::make_shared<ManualThread>();
  ManualVision vision_;
  RecordingSink sink_;
  ImageDelivery image_{3, Request(), &vision_, thread_, &sink_};
};

TEST_F(ImageDeliveryTest, OpeningEndsWithLayoutAndKeyInAnyOrder) {
  image_.Open();
  Send(ImageKey{"key", false});
  EXPECT_EQ(image_.state(), State::kOpening);
  Send(ImageLayout{640, 480, 2, 2, 1023});
  EXPECT_EQ(image_.state(), State::kKeyed);
  EXPECT_THAT(sink_.calls, ElementsAre("key", "layout"));
  EXPECT_EQ(image_.key(), "key");
  EXPECT_EQ(image_.layout()->num_embeddings, 1023);
}

TEST_F(ImageDeliveryTest, NothingIsSaidFromWithinTheUpstreamsCall) {
  image_.Open();
  stream().sink(ImageKey{"key", false});
  EXPECT_TRUE(sink_.calls.empty()) << "waits for the session's thread";
}

TEST_F(ImageDeliveryTest, ANeedIsDeliveredWhereTheImageIs) {
  Reach(State::kDelivering);
  ASSERT_EQ(stream().targets.size(), 1u);
  EXPECT_EQ(stream().targets[0].address, "lm:1");
  EXPECT_EQ(stream().targets[0].sequence_id, 7u);
  EXPECT_EQ(stream().targets[0].first_embedding, 64);
  EXPECT_EQ(stream().targets[0].upload_token, "secret");
  SendDelivered(absl::OkStatus());
  EXPECT_EQ(image_.state(), State::kKeyed);
  EXPECT_EQ(image_.encode_ms(), 5);
  image_.Need(Target("lm:2"));
  EXPECT_EQ(vision_.streams.size(), 1u) << "the same stream delivers again";
  EXPECT_NE(stream().targets[1].delivery_id, stream().targets[0].delivery_id);
}

TEST_F(ImageDeliveryTest, PrepareReachesAnOpenStreamOnly) {
  image_.Prepare();
  Reach(State::kKeyed);
  image_.Prepare();
  EXPECT_EQ(stream().num_prepared, 1);
}

TEST_F(ImageDeliveryTest, FromIdleANeedOpensANewStreamAndDeliversThere) {
  Reach(State::kIdle);
  image_.Need(Target("lm:1"));
  EXPECT_EQ(image_.state(), State::kDelivering);
  ASSERT_EQ(vision_.streams.size(), 2u);
  EXPECT_EQ(stream().targets.size(), 1u);
  Send(ImageLayout{640, 480, 2, 2, 1023});
  Send(ImageKey{"key", false});
  EXPECT_EQ(image_.state(), State::kDelivering) << "what is known already changes nothing";
  EXPECT_THAT(sink_.calls, ElementsAre("layout", "key"));
  SendDelivered(absl::OkStatus());
  EXPECT_EQ(image_.state(), State::kKeyed);
}

// Replicas with other weights give other embeddings, under another key.
TEST_F(ImageDeliveryTest, AKnownImageGoesOnInItsPool) {
  Reach(State::kIdle);
  EXPECT_EQ(vision_.requests[0].pool, "");
  image_.Need(Target("lm:1"));
  ASSERT_EQ(vision_.requests.size(), 2u);
  EXPECT_EQ(vision_.requests[1].pool, "model/bf16/cpu");
}

TEST_F(ImageDeliveryTest, FirstTokenClosesStreams) {
  Reach(State::kKeyed);
  image_.OnFirstToken(true);
  EXPECT_EQ(image_.state(), State::kIdle);
  EXPECT_EQ(stream().num_closed, 1);
  image_.Need(Target("lm:2"));
  EXPECT_EQ(vision_.streams.size(), 2u) << "a half-closed stream takes no delivery";
  EXPECT_EQ(vision_.streams[0]->num_cancelled, 1);
  SendDelivered(absl::OkStatus());
  EXPECT_EQ(image_.state(), State::kIdle);
  EXPECT_EQ(stream().num_closed, 1);
}

TEST_F(ImageDeliveryTest, FirstTokenProvesTheDeliveryOfAnOnlySample) {
  Reach(State::kDelivering);
  image_.OnFirstToken(true);
  EXPECT_EQ(image_.state(), State::kIdle);
  SendDelivered(absl::UnavailableError("too late to matter"));
  EXPECT_TRUE(thread_->pauses.empty());
}

TEST_F(ImageDeliveryTest, WithSeveralSamplesADeliveryGoesOnBehindTheFirstToken) {
  Reach(State::kDelivering);
  image_.OnFirstToken(false);
  EXPECT_EQ(image_.state(), State::kDelivering);
  EXPECT_EQ(stream().num_closed, 0);
  SendDelivered(absl::OkStatus());
  EXPECT_EQ(image_.state(), State::kIdle);
  EXPECT_EQ(stream().num_closed, 1);
}

TEST_F(ImageDeliveryTest, ALostSequenceNeedsNothing) {
  Reach(State::kDelivering);
  const uint64_t delivery = stream().targets[0].delivery_id;
  image_.ForgetNeed();
  EXPECT_EQ(image_.state(), State::kKeyed);
  image_.Need(Target("lm:2"));
  Send(ImageDelivered{delivery, absl::InternalError("of the lost sequence"), 5});
  EXPECT_TRUE(sink_.failures.empty());
  EXPECT_EQ(image_.state(), State::kDelivering);
  SendDelivered(absl::NotFoundError("the sequence has ended"));
  EXPECT_EQ(image_.state(), State::kKeyed);
}

// ---- Faults ----

TEST_F(ImageDeliveryTest, ALostReplicaIsReplacedInEachState) {
  for (const State state : {State::kOpening, State::kDelivering}) {
    ManualVision vision;
    RecordingSink sink;
    ImageDelivery image(0, Request(), &vision, thread_, &sink);
    image.Open();
    if (state == State::kDelivering) {
      vision.streams[0]->sink(ImageLayout{640, 480, 2, 2, 1023});
      vision.streams[0]->sink(ImageKey{"key", false});
      thread_->Run();
      image.Need(Target("lm:1"));
    }
    vision.streams[0]->sink(ImageClosed{absl::UnavailableError("killed")});
    thread_->Run();
    EXPECT_EQ(image.state(), state);
    EXPECT_EQ(vision.streams.size(), 1u) << "after a pause";
    thread_->RunLater();
    ASSERT_EQ(vision.streams.size(), 2u);
    EXPECT_THAT(vision.requests[1].avoid, ElementsAre("vision0"));
    EXPECT_EQ(vision.streams[1]->targets.size(), state == State::kDelivering ? 1u : 0u);
    vision.streams[0]->sink(ImageKey{"of the lost one", false});
    thread_->Run();
    EXPECT_TRUE(sink.failures.empty()) << "earlier attempts are not heard";
  }
}

TEST_F(ImageDeliveryTest, AStreamThatEndsEarlyCountsAsLost) {
  Reach(State::kOpening);
  Send(ImageClosed{absl::OkStatus()});
  thread_->RunLater();
  EXPECT_EQ(vision_.streams.size(), 2u);
}

TEST_F(ImageDeliveryTest, ALostReplicaThatIsNotNeededIsLeftAlone) {
  Reach(State::kKeyed);
  Send(ImageClosed{absl::UnavailableError("killed")});
  EXPECT_EQ(image_.state(), State::kIdle);
  thread_->RunLater();
  EXPECT_EQ(vision_.streams.size(), 1u);
}

TEST_F(ImageDeliveryTest, ANeedThatGoesAwayDuringThePauseOpensNothing) {
  Reach(State::kDelivering);
  SendDelivered(absl::AbortedError("x"));
  image_.ForgetNeed();
  thread_->RunLater();
  EXPECT_EQ(vision_.streams.size(), 1u);
  EXPECT_EQ(image_.state(), State::kKeyed);
}

TEST_F(ImageDeliveryTest, WhereNoReplicaOpensItEndsAfterAFewTries) {
  vision_.refusal = absl::UnavailableError("no replica");
  image_.Open();
  for (int i = 0; i < 20; ++i) thread_->RunLater();
  EXPECT_EQ(static_cast<int>(vision_.requests.size()), RetryPolicy::kMaxEarlyFailures + 1);
  ASSERT_EQ(sink_.failures.size(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(sink_.failures[0]));
  EXPECT_THAT(Message(sink_.failures[0]), HasSubstr("vision, picture 3"));
}

TEST_F(ImageDeliveryTest, AfterTheFirstTokenItIsTriedLonger) {
  Reach(State::kKeyed);
  image_.OnFirstToken(true);
  vision_.refusal = absl::UnavailableError("no replica");
  image_.Need(Target("lm:1"));
  for (int i = 0; i < 20; ++i) thread_->RunLater();
  EXPECT_EQ(static_cast<int>(vision_.requests.size()), 1 + RetryPolicy::kMaxLateFailures + 1);
}

TEST_F(ImageDeliveryTest, AFullReplicaIsAskedAgainOnce) {
  Reach(State::kOpening);
  Send(ImageClosed{absl::ResourceExhaustedError("full")});
  thread_->RunLater();
  ASSERT_EQ(vision_.streams.size(), 2u);
  Send(ImageClosed{absl::ResourceExhaustedError("full")});
  ASSERT_EQ(sink_.failures.size(), 1u);
  EXPECT_TRUE(absl::IsResourceExhausted(sink_.failures[0]));
}

TEST_F(ImageDeliveryTest, ABrokenImageIsTheClientsFault) {
  for (const bool at_header : {true, false}) {
    sink_.failures.clear();
    if (at_header) {
      Reach(State::kOpening);
      Send(ImageClosed{absl::InvalidArgumentError("not a PNG")});
    } else {
      Reach(State::kDelivering);
      SendDelivered(absl::InvalidArgumentError("not a PNG"));
    }
    ASSERT_EQ(sink_.failures.size(), 1u);
    EXPECT_EQ(ReasonOf(sink_.failures[0]), "invalid_image");
    EXPECT_EQ(ParamOf(sink_.failures[0]), "messages");
    EXPECT_EQ(Message(sink_.failures[0]), "picture 3: not a PNG");
    EXPECT_TRUE(thread_->pauses.empty());
  }
}

TEST_F(ImageDeliveryTest, ABrokenImageIsReportedAlsoWhenNothingNeedsIt) {
  Reach(State::kKeyed);
  Send(ImageClosed{absl::InvalidArgumentError("the pixels are broken")});
  EXPECT_EQ(sink_.failures.size(), 1u);
}

TEST_F(ImageDeliveryTest, ReplicasThatDisagreeEndTheRequest) {
  const std::pair<ImageEvent, std::string> wrong[] = {
      {ImageLayout{640, 480, 1, 1, 421}, "picture 3 has 421 embeddings at vision"},
      {ImageKey{"another", false}, "another content key"},
      {ImageKey{"", false}, "empty content key"},
  };
  Reach(State::kKeyed);
  for (const auto& [event, says] : wrong) {
    Send(event);
    ASSERT_FALSE(sink_.failures.empty());
    EXPECT_TRUE(absl::IsInternal(sink_.failures.back()));
    EXPECT_THAT(Message(sink_.failures.back()), HasSubstr(says));
  }
}

TEST_F(ImageDeliveryTest, TwoReplicasThatCannotReachTheLanguageServiceReportIt) {
  Reach(State::kDelivering);
  SendDelivered(absl::UnavailableError("draining"));
  thread_->RunLater();
  ASSERT_EQ(vision_.streams.size(), 2u);
  EXPECT_THAT(sink_.calls, ElementsAre("layout", "key"));
  SendDelivered(absl::UnavailableError("draining"));
  EXPECT_EQ(sink_.calls.back(), "undeliverable");
  EXPECT_TRUE(sink_.failures.empty());
}

TEST_F(ImageDeliveryTest, CancelEndsTheStream) {
  Reach(State::kDelivering);
  image_.Cancel();
  EXPECT_EQ(stream().num_cancelled, 1);
  image_.Cancel();
  EXPECT_EQ(stream().num_cancelled, 1);
}

TEST_F(ImageDeliveryTest, TellsProgress) {
  Reach(State::kOpening);
  Send(ImageProgress{1, 5});
  EXPECT_EQ(image_.progress().encoded_tiles, 1);
  EXPECT_THAT(sink_.calls, ElementsAre("progress"));
}

}  // namespace
}  // namespace vl2::gateway
