// What one Encode call may cost others: ids, headers, decoded bytes of a request, processor time.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/vision_service/image/costly_bytes.h"
#include "tests/vision_service/image/exif_bytes.h"
#include "tests/vision_service/service/vision_server.h"

namespace vl2 {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::EncodeHeader HeaderOf(const std::string& client_id, const std::string& request_id) {
  v1::EncodeHeader header;
  header.set_client_id(client_id);
  header.set_request_id(request_id);
  return header;
}

void ExpectStatus(const grpc::Status& status, grpc::StatusCode code, const char* text) {
  EXPECT_EQ(status.error_code(), code) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr(text));
}

constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;

TEST(EncodeLimitsTest, IdsAreOfBoundedLength) {
  VisionServer server;
  const std::string longest(128, 'x'), too_long(129, 'x');
  {
    EncodeClient client(server);
    client.SendHeader(HeaderOf(too_long, ""));
    ExpectStatus(client.Finish(), kInvalid, "client_id has 129 bytes, the limit is 128");
  }
  {
    EncodeClient client(server);
    client.SendHeader(HeaderOf("", too_long));
    ExpectStatus(client.Finish(), kInvalid, "request_id has 129 bytes, the limit is 128");
  }
  EncodeClient client(server);
  client.SendPicture(TestPicture(), HeaderOf(longest, longest));
  EXPECT_EQ(client.ReadKey().key().size(), 32u);
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(EncodeLimitsTest, ACallWithoutHeaderEndsSoon) {
  VisionServer server({}, {.header_timeout_ms = 200, .max_nameless_calls = 1});
  EncodeClient silent(server);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  {
    EncodeClient second(server);
    ExpectStatus(second.Finish(), grpc::StatusCode::RESOURCE_EXHAUSTED,
                 "2 calls have not sent their header, the limit is 1");
  }
  v1::EncodeResponse response;
  EXPECT_FALSE(silent.Read(response));
  ExpectStatus(silent.Finish(), grpc::StatusCode::DEADLINE_EXCEEDED, "header_timeout_ms 200");
  // And is forgotten.
  EncodeClient third(server);
  third.SendPicture(TestPicture());
  EXPECT_EQ(third.ReadKey().key().size(), 32u);
  EXPECT_TRUE(third.Finish().ok());
}

TEST(EncodeLimitsTest, PicturesOfOneRequestCountTogether) {
  VisionEngineOptions options;
  options.image_limits.max_decoded_bytes = 1'000'000;
  options.max_request_decoded_bytes = 1'000'000;
  VisionServer server(options);
  EncodeClient first(server);  // 640 · 480 · 3 bytes
  first.SendPicture(TestPicture(), HeaderOf("client", "request"));
  ASSERT_EQ(first.ReadKey().key().size(), 32u);
  {
    EncodeClient second(server);
    second.SendPicture(TestPicture("scene_400x300.png"), HeaderOf("client", "request"));
    ExpectStatus(
        second.Finish(), kInvalid,
        "takes 360000 bytes decoded, and 1 other pictures of the request 921600: the limit "
        "for a request is 1000000");
  }
  for (const v1::EncodeHeader& other :
       {HeaderOf("client", "another"), HeaderOf("another", "request"), HeaderOf("client", "")}) {
    EncodeClient client(server);
    client.SendPicture(TestPicture("scene_400x300.png"), other);
    EXPECT_EQ(client.ReadKey().key().size(), 32u);
    EXPECT_TRUE(client.Finish().ok());
  }
  // The same picture once more, as after a call that broke off.
  EncodeClient again(server);
  again.SendPicture(TestPicture(), HeaderOf("client", "request"));
  EXPECT_EQ(again.ReadKey().key().size(), 32u);
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_TRUE(again.Finish().ok());
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(EncodeLimitsTest, AnOrientationBehindThePixels) {
  VisionServer server;
  const std::string picture =
      PngWithChunk(TestPicture(), "eXIf", ExifOf({OrientationEntry(6)}), "IEND");
  const auto expect_turned = [](EncodeClient& client, const v1::ImageLayout& layout) {
    EXPECT_EQ(layout.width(), 480);
    EXPECT_EQ(layout.height(), 640);
    client.SendStart(ReturnStart());
    EXPECT_EQ(client.ReadDone().status_code(), 0);
    EXPECT_EQ(client.next, layout.num_embeddings());
    EXPECT_TRUE(client.Finish().ok());
  };
  v1::EncodeResponse response;
  {
    // The length is known: one layout, the right one.
    v1::EncodeHeader header;
    header.set_total_bytes(static_cast<int64_t>(picture.size()));
    EncodeClient client(server);
    client.SendHeader(header);
    client.SendBytes(picture.substr(0, 5000));
    client.SendBytes(picture.substr(5000));
    client.SendEnd();
    ASSERT_TRUE(client.Read(response));
    const v1::ImageLayout layout = response.layout();
    ASSERT_TRUE(client.Read(response));
    ASSERT_TRUE(response.has_content_key());
    expect_turned(client, layout);
  }
  {
    // It is not: the layout comes early, and again.
    EncodeClient client(server);
    client.SendHeader();
    client.SendBytes(picture.substr(0, 5000));
    ASSERT_TRUE(client.Read(response));
    EXPECT_EQ(response.layout().width(), 640);
    client.SendBytes(picture.substr(5000));
    client.SendEnd();
    ASSERT_TRUE(client.Read(response));
    ASSERT_TRUE(response.has_layout());
    const v1::ImageLayout layout = response.layout();
    ASSERT_TRUE(client.Read(response));
    ASSERT_TRUE(response.has_content_key());
    expect_turned(client, layout);
  }
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(EncodeLimitsTest, HeadersAreReadAside) {
  VisionServer server;
  std::atomic<bool> open = false;
  server.engine().RunAside("someone", [&open] {
    while (!open) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::vector<std::unique_ptr<EncodeClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<EncodeClient>(server));
    clients.back()->SendPicture(TestPicture());
  }
  while (server.engine().snapshot().num_waiting_headers < 20) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // The calls wait, the service does not.
  grpc::ClientContext context;
  v1::ModelInfo info;
  EXPECT_TRUE(server.stub().GetModelInfo(&context, {}, &info).ok());
  EXPECT_THAT(server.metrics().Text(), HasSubstr("vl2_vision_header_queue 20"));
  clients.back()->Cancel();
  clients.pop_back();
  open = true;
  for (const auto& client : clients) {
    EXPECT_EQ(client->ReadKey().key().size(), 32u);
    EXPECT_TRUE(client->Finish().ok());
  }
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(EncodeLimitsTest, DecodingEndsAtItsLimitOfProcessorTime) {
  VisionEngineOptions options;
  options.max_decode_cpu_ms = 20;
  VisionServer server(options);
  EncodeClient client(server);
  client.SendPicture(PngWithTooMuchData(60));
  ASSERT_EQ(client.ReadKey().key().size(), 32u);
  client.SendStart(ReturnStart());
  const v1::DeliveryDone done = client.ReadDone();
  EXPECT_EQ(done.status_code(), static_cast<int>(kInvalid));
  EXPECT_THAT(done.status_message(),
              AllOf(HasSubstr("ms of processor time"), HasSubstr("the limit is 20 ms")));
  client.Finish();
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(EncodeLimitsTest, DecodingEndsWithItsCaller) {
  VisionEngineOptions options;
  options.max_decode_cpu_ms = 0;
  VisionServer server(options);
  const std::string picture = PngWithTooMuchData(1000);  // ten seconds of work
  EncodeClient client(server);
  client.SendHeader();
  for (size_t at = 0; at < picture.size(); at += size_t{1} << 20) {
    client.SendBytes(picture.substr(at, size_t{1} << 20));
  }
  client.SendEnd();
  ASSERT_EQ(client.ReadKey().key().size(), 32u);
  client.SendStart(ReturnStart());
  while (server.engine().snapshot().decoding_bytes == 0) std::this_thread::yield();
  client.Cancel();
  EXPECT_TRUE(server.BecomesIdle());
}

}  // namespace
}  // namespace vl2
