// Generate over a real connection, against the engine asked in process.
#include "lm_service/service/language_service.h"

#include <chrono>
#include <future>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/lm_service/service/generate_client.h"
#include "tests/lm_service/service/language_server.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

// Collects tokens of a request that is asked in process.
class CollectingSink : public GenerateSink {
 public:
  void OnSlotNeeded(int, int64_t) override {}
  void OnPrefill(int64_t, int64_t) override {}
  void OnToken(int sample, const SampledToken& token) override { ids[sample].push_back(token.id); }
  void OnSampleFinished(int, FinishReason) override {}
  void OnFinished(const absl::Status& status, const GenerateStats&) override {
    done.set_value(status);
  }
  std::map<int, std::vector<int32_t>> ids;
  std::promise<absl::Status> done;
};

std::map<int, std::vector<int32_t>> RunInProcess(LanguageServer& server,
                                                 const v1::GenerateRequest& wire) {
  GenerateRequest request;
  for (const auto& segment : wire.segments()) {
    request.parts.emplace_back(
        std::vector<int32_t>(segment.tokens().ids().begin(), segment.tokens().ids().end()));
  }
  request.sampling.temperature = wire.sampling().temperature();
  request.sampling.seed = wire.sampling().seed();
  request.num_samples = std::max(1, wire.num_samples());
  request.max_new_tokens = wire.max_new_tokens();
  request.ignore_end = wire.ignore_end_token();
  request.image_token_id = wire.image_token_id();
  const auto sink = std::make_shared<CollectingSink>();
  EXPECT_TRUE(server.engine().Submit(request, sink).ok());
  EXPECT_TRUE(sink->done.get_future().get().ok());
  return sink->ids;
}

TEST(LanguageServiceTest, GenerateEqualsTheEngine) {
  LanguageServer server;
  for (const double temperature : {0.0, 1.0}) {
    v1::GenerateRequest request = TextRequest(150, 20);
    request.mutable_sampling()->set_temperature(temperature);
    request.mutable_sampling()->set_seed(5);
    request.set_num_samples(temperature == 0 ? 1 : 3);
    request.set_ignore_end_token(true);
    const CallRecord record = RunGenerate(server.address(), request);
    ASSERT_TRUE(record.status.ok()) << record.status.error_message();
    EXPECT_EQ(record.ids, RunInProcess(server, request));
    EXPECT_EQ(record.ids.size(), static_cast<size_t>(std::max(1, request.num_samples())));
    EXPECT_EQ(record.ids.at(0).size(), 20u);
  }
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(LanguageServiceTest, EventsComeInOrder) {
  LanguageServer server;
  v1::GenerateRequest request = TextRequest(700, 4);
  request.set_ignore_end_token(true);
  request.mutable_sampling()->set_repetition_penalty(1);
  request.mutable_sampling()->set_logprobs(true);
  request.mutable_sampling()->set_top_logprobs(3);
  request.set_model_id(server.model_id());
  const CallRecord record = RunGenerate(server.address(), request);
  ASSERT_TRUE(record.status.ok()) << record.status.error_message();
  ASSERT_GE(record.events.size(), 4u);
  const v1::Accepted& accepted = record.events.front().accepted();
  EXPECT_GT(accepted.sequence_id(), 0u);
  EXPECT_EQ(accepted.prompt_tokens(), 700);
  EXPECT_EQ(accepted.address(), server.address());
  EXPECT_EQ(accepted.model_id(), server.model_id());
  int64_t done = 0;
  for (const auto& event : record.events) {
    if (event.has_prefill()) {
      EXPECT_GT(event.prefill().done_tokens(), done);
      done = event.prefill().done_tokens();
    }
    for (const v1::Token& token : event.tokens().tokens()) {
      ASSERT_EQ(token.top_logprobs_size(), 3);
      EXPECT_EQ(token.top_logprobs(0).logprob(), token.logprob());  // greedy
    }
  }
  const v1::Finished& finished = record.events.back().finished();
  EXPECT_EQ(finished.prompt_tokens(), 700);
  EXPECT_EQ(finished.generated_tokens(), 4);
  const auto& before = record.events[record.events.size() - 2];
  EXPECT_EQ(before.sample_finished().reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_THAT(server.metrics().Text(), HasSubstr("vl2_language_calls_total{code=\"ok\"} 1"));
  EXPECT_THAT(server.metrics().Text(), HasSubstr("vl2_language_generated_tokens_total 4"));
}

TEST(LanguageServiceTest, StopTokensAndTheEndToken) {
  LanguageServer server;
  v1::GenerateRequest request = TextRequest(40, 12);
  request.set_ignore_end_token(true);
  const std::vector<int32_t> ids = RunGenerate(server.address(), request).ids.at(0);
  ASSERT_EQ(ids.size(), 12u);
  size_t stop = 1;  // the first token that did not come before
  while (std::find(ids.begin(), ids.begin() + static_cast<int64_t>(stop), ids[stop]) !=
         ids.begin() + static_cast<int64_t>(stop)) {
    ++stop;
  }
  request.add_stop_token_ids(ids[stop]);
  const CallRecord record = RunGenerate(server.address(), request);
  EXPECT_EQ(record.ids.at(0).size(), stop + 1);

  // The same token as the model's end token: ends an answer, unless the request says otherwise.
  EngineOptions options = TestEngineOptions();
  options.end_token_id = ids[stop];
  LanguageServer other(options);
  request.clear_stop_token_ids();
  EXPECT_EQ(RunGenerate(other.address(), request).ids.at(0), ids);
  request.set_ignore_end_token(false);
  EXPECT_EQ(RunGenerate(other.address(), request).ids.at(0).size(), stop + 1);
}

TEST(LanguageServiceTest, NamesWhatIsWrong) {
  LanguageServer server;
  const auto error = [&](const v1::GenerateRequest& request, grpc::StatusCode code) {
    const CallRecord record = RunGenerate(server.address(), request);
    EXPECT_EQ(record.status.error_code(), code) << record.status.error_message();
    EXPECT_TRUE(record.events.empty());
    return record.status.error_message();
  };
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;
  v1::GenerateRequest request;
  request.set_image_token_id(1);
  EXPECT_THAT(error(request, invalid), HasSubstr("empty"));
  request = TextRequest(3, 1);
  request.mutable_segments(0)->mutable_tokens()->add_ids(100'000);
  EXPECT_THAT(error(request, invalid), HasSubstr("100000"));
  request = TextRequest(3, 1);
  request.add_segments();
  EXPECT_THAT(error(request, invalid), HasSubstr("segment 1"));
  request = TextRequest(3, 1);
  request.set_request_id(std::string(129, 'x'));
  EXPECT_THAT(error(request, invalid), HasSubstr("request_id has 129 bytes, the limit is 128"));
  request = TextRequest(10, 5);
  request.set_client_id(std::string(129, 'x'));
  EXPECT_THAT(error(request, invalid), HasSubstr("client_id has 129 bytes, the limit is 128"));
  request = TextRequest(3, 1);
  request.mutable_sampling()->set_top_p(1.5);
  EXPECT_THAT(error(request, invalid), HasSubstr("top_p"));
  request = TextRequest(3, 1);
  request.set_num_samples(17);
  EXPECT_THAT(error(request, invalid), HasSubstr("17"));
  request = TextRequest(3, 1);
  request.mutable_sampling()->set_top_k(-1);
  EXPECT_THAT(error(request, invalid), HasSubstr("top_k"));
  request = PictureRequest(int64_t{1} << 62, 1);
  EXPECT_THAT(error(request, invalid), HasSubstr("context"));
  request = PictureRequest(-3, 1);
  EXPECT_THAT(error(request, invalid), HasSubstr("-3"));
  request = TextRequest(3, 1);
  request.set_model_id("another");
  EXPECT_THAT(error(request, grpc::StatusCode::FAILED_PRECONDITION), HasSubstr("another"));
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(LanguageServiceTest, CancelFreesEverything) {
  LanguageServer server;
  const auto stub = LanguageStub(server.address());
  for (const bool with_picture : {false, true}) {
    grpc::ClientContext context;
    v1::GenerateRequest request = with_picture ? PictureRequest(100, 0) : TextRequest(30, 1500);
    request.set_ignore_end_token(true);
    const auto reader = stub->Generate(&context, request);
    CallRecord record;
    for (int i = 0; i < (with_picture ? 2 : 5); ++i) ASSERT_TRUE(ReadEvent(*reader, record));
    EXPECT_TRUE(server.BecomesBusy());
    context.TryCancel();
    while (ReadEvent(*reader, record)) {
    }
    EXPECT_EQ(record.status.error_code(), grpc::StatusCode::CANCELLED);
    EXPECT_TRUE(server.BecomesIdle());
  }
  // Both waited; the one of text had its first token.
  const std::string text = server.metrics().Text();
  EXPECT_THAT(text, HasSubstr("vl2_language_calls_total{code=\"cancelled\"} 2"));
  EXPECT_THAT(text, HasSubstr("vl2_language_queue_seconds_count 2"));
  EXPECT_THAT(text, HasSubstr("vl2_language_prefill_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("vl2_language_cancelled_total{stage=\"decode\"} 1"));
  EXPECT_THAT(text, HasSubstr("vl2_language_cancelled_total{stage=\"prefill\"} 1"));
}

TEST(LanguageServiceTest, DeadlineEndsTheSequence) {
  LanguageServer server;
  const auto stub = LanguageStub(server.address());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(150));
  const auto reader = stub->Generate(&context, PictureRequest(100, 5));
  CallRecord record;
  while (ReadEvent(*reader, record)) {
  }
  EXPECT_EQ(record.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(LanguageServiceTest, AFullEngineSaysSo) {
  EngineOptions options = TestEngineOptions();
  options.max_sequences = 1;
  LanguageServer server(options);
  const auto stub = LanguageStub(server.address());
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, PictureRequest(100, 5));
  CallRecord first;
  ASSERT_TRUE(ReadEvent(*reader, first));
  EXPECT_TRUE(server.BecomesBusy());
  const CallRecord second = RunGenerate(server.address(), TextRequest(3, 1));
  EXPECT_EQ(second.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(second.status.error_message(), HasSubstr("the limit is 1"));
  context.TryCancel();
  while (ReadEvent(*reader, first)) {
  }
  EXPECT_TRUE(server.BecomesIdle());
  const CallRecord third = RunGenerate(server.address(), TextRequest(3, 1));
  EXPECT_TRUE(third.status.ok()) << third.status.error_message();
}

TEST(LanguageServiceTest, AClientThatReadsTooSlowlyIsLetGo) {
  LanguageServer server(TestEngineOptions(), {.max_waiting_events = 64});
  // A small window: most of the answer has to wait at the server, however fast the machine is.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4096);
  const auto stub = v1::LanguageService::NewStub(
      grpc::CreateCustomChannel(server.address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  v1::GenerateRequest request = TextRequest(3, 300);
  request.set_num_samples(16);
  request.set_ignore_end_token(true);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_logprobs(true);
  request.mutable_sampling()->set_top_logprobs(20);
  const auto reader = stub->Generate(&context, request);
  // Nothing is read until the engine has given up.
  CallRecord record;
  ASSERT_TRUE(ReadEvent(*reader, record));
  EXPECT_TRUE(server.HasStepped());
  EXPECT_TRUE(server.BecomesIdle());
  while (ReadEvent(*reader, record)) {
  }
  EXPECT_EQ(record.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(record.status.error_message(), HasSubstr("too slowly"));
  EXPECT_LT(record.ids[0].size(), 300u);
}

TEST(LanguageServiceTest, DrainLetsAnAnswerFinish) {
  LanguageServer server;
  v1::GenerateRequest request = TextRequest(30, 60);
  request.set_ignore_end_token(true);
  const auto stub = LanguageStub(server.address());
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, request);
  CallRecord record;
  ASSERT_TRUE(ReadEvent(*reader, record));
  std::thread drain([&] { server.server().Drain(20'000); });
  while (ReadEvent(*reader, record)) {
  }
  drain.join();
  EXPECT_TRUE(record.status.ok()) << record.status.error_message();
  EXPECT_EQ(record.ids.at(0).size(), 60u);
}

TEST(LanguageServiceTest, TellsItsModel) {
  LanguageServer server;
  const auto stub = LanguageStub(server.address());
  grpc::ClientContext context;
  v1::ModelInfo info;
  ASSERT_TRUE(stub->GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.model_id(), server.model_id());
  EXPECT_EQ(info.model_name(), "small_mla");
  EXPECT_EQ(info.advertised_address(), server.address());
  EXPECT_THAT(info.config_json(), HasSubstr("language_config"));
  EXPECT_THAT(info.processor_config_json(), HasSubstr("candidate_resolutions"));
}

}  // namespace
}  // namespace vl2
