// A picture's way from the vision service straight to the language service.
#include <future>
#include <map>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/lm_service/service/generate_client.h"
#include "tests/lm_service/service/language_server.h"
#include "tests/vision_service/service/vision_server.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

constexpr int kNewTokens = 12;

class IdsSink : public GenerateSink {
 public:
  void OnSlotNeeded(int, int64_t) override {}
  void OnPrefill(int64_t, int64_t) override {}
  void OnToken(int, const SampledToken& token) override { ids.push_back(token.id); }
  void OnSampleFinished(int, FinishReason) override {}
  void OnFinished(const absl::Status& status, const GenerateStats&) override {
    done.set_value(status);
  }
  std::vector<int32_t> ids;
  std::promise<absl::Status> done;
};

// The tokens for PictureRequest, asked in process.
std::vector<int32_t> RunInProcess(LanguageServer& server, const std::vector<float>& embeddings) {
  GenerateRequest request;
  const v1::GenerateRequest wire = PictureRequest(1, kNewTokens);
  const auto& first = wire.segments(0).tokens().ids();
  const auto& last = wire.segments(2).tokens().ids();
  const auto count = static_cast<int64_t>(embeddings.size()) / server.model().hidden();
  request.parts = {std::vector<int32_t>(first.begin(), first.end()),
                   ImagePart{.content_key = "", .num_embeddings = count},
                   std::vector<int32_t>(last.begin(), last.end())};
  request.image_token_id = wire.image_token_id();
  request.sampling.temperature = 0;
  request.max_new_tokens = kNewTokens;
  request.ignore_end = true;
  const auto sink = std::make_shared<IdsSink>();
  const auto submitted = server.engine().Submit(request, sink);
  EXPECT_TRUE(submitted.ok()) << submitted.status();
  EXPECT_TRUE(server.engine().AddEmbeddings(submitted->id, 0, 0, embeddings).ok());
  EXPECT_TRUE(sink->done.get_future().get().ok());
  return sink->ids;
}

EngineOptions ManyBlocks() {
  EngineOptions options = TestEngineOptions();
  options.scheduler.num_blocks = 128;
  return options;
}

v1::EncodeStart LanguageStart(const v1::Accepted& accepted, const v1::SlotNeeded& needed) {
  v1::EncodeStart start;
  start.set_first_embedding(needed.first_embedding());
  v1::LanguageTarget& target = *start.mutable_language();
  target.set_address(accepted.address());
  target.set_sequence_id(accepted.sequence_id());
  target.set_slot(needed.slot());
  target.set_upload_token(needed.upload_token());
  return start;
}

TEST(EncodeToLanguageTest, GivesTheTokensOfOneProcess) {
  LanguageServer language(ManyBlocks());
  VisionServer vision;
  const std::string picture = TestPicture();
  const std::vector<int32_t> expected = RunInProcess(language, EncodeDirectly(picture));
  ASSERT_EQ(expected.size(), static_cast<size_t>(kNewTokens));
  const auto stub = LanguageStub(language.address());
  for (int round = 0; round < 3; ++round) {
    EncodeClient encode(vision);
    encode.SendPicture(picture);
    const std::string key = encode.ReadKey().key();
    v1::GenerateRequest request = PictureRequest(encode.layout.num_embeddings(), kNewTokens);
    request.mutable_segments(1)->mutable_image()->set_content_key(key);
    request.set_ignore_end_token(true);
    grpc::ClientContext context;
    const auto reader = stub->Generate(&context, request);
    CallRecord record;
    bool delivered = false;
    while (ReadEvent(*reader, record)) {
      if (!record.events.back().has_slot_needed()) continue;
      v1::EncodeStart start =
          LanguageStart(record.events[0].accepted(), record.events.back().slot_needed());
      start.set_whole_picture_first(round == 1);
      encode.SendStart(start);
      const v1::DeliveryDone done = encode.ReadDone();
      EXPECT_EQ(done.status_code(), 0) << done.status_message();
      delivered = true;
    }
    EXPECT_TRUE(record.status.ok()) << record.status.error_message();
    EXPECT_EQ(record.ids[0], expected);
    EXPECT_TRUE(encode.Finish().ok());
    EXPECT_TRUE(delivered || round > 0);
    // The picture's keys and values are there already.
    EXPECT_EQ(record.events[0].accepted().cached_tokens() > 0, round > 0);
  }
  EXPECT_TRUE(language.BecomesIdle());
  EXPECT_TRUE(vision.BecomesIdle());
}

TEST(EncodeToLanguageTest, DeliveriesFailAlone) {
  LanguageServer language(ManyBlocks());
  VisionServer vision;
  EncodeClient encode(vision);
  encode.SendPicture(TestPicture());
  encode.ReadKey();
  const auto stub = LanguageStub(language.address());
  grpc::ClientContext context;
  const auto reader =
      stub->Generate(&context, PictureRequest(encode.layout.num_embeddings(), kNewTokens));
  CallRecord record;
  while (ReadEvent(*reader, record) && !record.events.back().has_slot_needed()) {
  }
  const v1::EncodeStart good =
      LanguageStart(record.events[0].accepted(), record.events.back().slot_needed());
  v1::EncodeStart bad = good;
  bad.mutable_language()->mutable_upload_token()->front() ^= 1;
  encode.SendStart(bad);
  EXPECT_EQ(encode.ReadDone().status_code(), static_cast<int>(grpc::StatusCode::PERMISSION_DENIED));
  bad = good;
  bad.mutable_language()->set_address("192.0.2.1:50061");
  encode.SendStart(bad);
  const v1::DeliveryDone refused = encode.ReadDone();
  EXPECT_EQ(refused.status_code(), static_cast<int>(grpc::StatusCode::PERMISSION_DENIED));
  EXPECT_THAT(refused.status_message(), HasSubstr("192.0.2.1:50061"));
  bad = good;
  bad.mutable_language()->set_address("127.0.0.1:1");
  encode.SendStart(bad);
  EXPECT_EQ(encode.ReadDone().status_code(), static_cast<int>(grpc::StatusCode::UNAVAILABLE));
  bad = good;
  bad.mutable_language()->set_sequence_id(good.language().sequence_id() + 1000);
  encode.SendStart(bad);
  const v1::DeliveryDone gone = encode.ReadDone();
  EXPECT_EQ(gone.status_code(), 0);
  EXPECT_TRUE(gone.not_needed());
  encode.SendStart(good);
  EXPECT_EQ(encode.ReadDone().status_code(), 0);
  while (ReadEvent(*reader, record)) {
  }
  EXPECT_TRUE(record.status.ok()) << record.status.error_message();
  EXPECT_TRUE(encode.Finish().ok());
  EXPECT_TRUE(language.BecomesIdle());
  EXPECT_TRUE(vision.BecomesIdle());
}

// What Check says, after a look-up when it says no.
absl::StatusCode Allowed(PeerAllowList& list, const std::string& address) {
  if (const absl::Status status = list.Check(address); !absl::IsPermissionDenied(status)) {
    return status.code();
  }
  std::promise<absl::Status> answer;
  const absl::Status asked =
      list.Ask(address, [&answer](const absl::Status& status) { answer.set_value(status); });
  return asked.ok() ? answer.get_future().get().code() : asked.code();
}

constexpr auto kDenied = absl::StatusCode::kPermissionDenied;

TEST(PeerAllowListTest, LetsThroughWhatItNames) {
  const auto loopback = *PeerAllowList::Make({});
  EXPECT_TRUE(loopback->Check("127.0.0.1:5").ok());
  EXPECT_TRUE(loopback->Check("[::1]:5").ok());
  EXPECT_TRUE(loopback->Check("localhost:5").ok());
  for (const char* text : {"10.0.0.1:5", "example.org:5", "127.0.0.1.example.org:5"}) {
    EXPECT_EQ(Allowed(*loopback, text), kDenied) << text;
  }
  EXPECT_EQ(loopback->Check("nothing").code(), absl::StatusCode::kInvalidArgument);
  const auto named = *PeerAllowList::Make({.entries = {"localhost:7", "10.1.2.3"}});
  for (const char* text : {"localhost:7", "127.0.0.1:7", "10.1.2.3:99"}) {
    EXPECT_EQ(Allowed(*named, text), absl::StatusCode::kOk) << text;
  }
  for (const char* text : {"localhost:8", "127.0.0.2:7", "10.1.2.4:99"}) {
    EXPECT_EQ(Allowed(*named, text), kDenied) << text;
  }
  EXPECT_EQ(named->num_refused(), 3);
  EXPECT_FALSE(PeerAllowList::Make({.entries = {"a:b:c"}}).ok());
}

// A name server whose answer the test changes.
class FakeNames {
 public:
  PeerAllowListOptions Options(int64_t keep_ms) {
    return {.entries = {"lm.example:7"},
            .resolve_interval_ms = 3'600'000,
            .keep_ms = keep_ms,
            .resolve = [this](const std::string& host) {
              EXPECT_EQ(host, "lm.example");
              MutexLock lock(&mutex_);
              ++num_asked_;
              return addresses_;
            }};
  }
  void Say(std::vector<std::string> addresses) {
    MutexLock lock(&mutex_);
    addresses_ = std::move(addresses);
  }
  int num_asked() {
    MutexLock lock(&mutex_);
    return num_asked_;
  }

 private:
  Mutex mutex_;
  std::vector<std::string> addresses_ ABSL_GUARDED_BY(mutex_);
  int num_asked_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST(PeerAllowListTest, LooksUpOnceWhatItDoesNotKnow) {
  FakeNames names;
  names.Say({"10.0.0.1"});
  const auto list = *PeerAllowList::Make(names.Options(60'000));
  EXPECT_EQ(Allowed(*list, "10.0.0.1:7"), absl::StatusCode::kOk);
  const int asked = names.num_asked();
  EXPECT_EQ(Allowed(*list, "10.0.0.2:7"), kDenied);
  EXPECT_EQ(names.num_asked(), asked + 1);
  // A replica that came a moment ago.
  names.Say({"10.0.0.1", "10.0.0.2"});
  EXPECT_EQ(Allowed(*list, "10.0.0.2:7"), absl::StatusCode::kOk);
  EXPECT_TRUE(list->Check("10.0.0.2:7").ok());
}

TEST(PeerAllowListTest, KeepsForAWhileWhatDnsHasForgotten) {
  for (const int64_t keep_ms : {int64_t{60'000}, int64_t{1}}) {
    FakeNames names;
    names.Say({"10.0.0.1"});
    const auto list = *PeerAllowList::Make(names.Options(keep_ms));
    EXPECT_EQ(Allowed(*list, "10.0.0.1:7"), absl::StatusCode::kOk);
    names.Say({"10.0.0.9"});
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    EXPECT_EQ(Allowed(*list, "10.0.0.9:7"), absl::StatusCode::kOk);
    EXPECT_EQ(list->Check("10.0.0.1:7").ok(), keep_ms > 1) << keep_ms;
    // A name server that fails changes nothing.
    names.Say({});
    EXPECT_EQ(Allowed(*list, "10.0.0.8:7"), kDenied);
    EXPECT_TRUE(list->Check("10.0.0.9:7").ok());
  }
}

TEST(PeerAllowListTest, WithoutKeepingOnlyTheLastAnswerCounts) {
  FakeNames names;
  names.Say({"10.0.0.1"});
  const auto list = *PeerAllowList::Make(names.Options(0));
  while (!list->Check("10.0.0.1:7").ok()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  names.Say({"10.0.0.2"});
  EXPECT_EQ(Allowed(*list, "10.0.0.2:7"), kDenied) << "nothing is looked up for one request";
}

}  // namespace
}  // namespace vl2
