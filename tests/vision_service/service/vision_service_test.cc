// Encode over a real connection: embeddings back to the caller, limits and errors.
#include "vision_service/service/vision_service.h"

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/vision_service/service/vision_server.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

std::string AsBytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

TEST(VisionServiceTest, ReturnsWhatTheEncoderGives) {
  VisionServer server;
  const std::string picture = TestPicture();
  const std::string expected = AsBytes(EncodeDirectly(picture));
  std::string key;
  for (const bool again : {false, true}) {
    EncodeClient client(server);
    client.SendHeader();
    // The layout comes before the file is complete.
    client.SendBytes(picture.substr(0, 200));
    v1::EncodeResponse first;
    ASSERT_TRUE(client.Read(first));
    EXPECT_EQ(first.layout().width(), 640);
    EXPECT_EQ(first.layout().height(), 480);
    EXPECT_EQ(first.layout().format(), "PNG");
    client.SendBytes(picture.substr(200));
    client.SendEnd();
    const v1::ContentKey content_key = client.ReadKey();
    EXPECT_EQ(content_key.key().size(), 32u);
    EXPECT_EQ(content_key.cached(), again);
    EXPECT_TRUE(!again || content_key.key() == key);
    key = content_key.key();
    client.SendStart(ReturnStart());
    const v1::DeliveryDone done = client.ReadDone();
    EXPECT_EQ(done.status_code(), 0) << done.status_message();
    EXPECT_EQ(done.timings().from_cache(), again);
    EXPECT_EQ(client.next, first.layout().num_embeddings());
    EXPECT_TRUE(client.data == expected);
    // A second start, from the middle.
    client.data.clear();
    client.next = 100;
    client.SendStart(ReturnStart(100));
    EXPECT_EQ(client.ReadDone().start_index(), 1);
    const size_t row_bytes = expected.size() / static_cast<size_t>(first.layout().num_embeddings());
    EXPECT_TRUE(client.data == expected.substr(100 * row_bytes));
    EXPECT_TRUE(client.Finish().ok());
  }
  EXPECT_TRUE(server.BecomesIdle());
  EXPECT_THAT(server.metrics().Text(),
              HasSubstr("vl2_vision_cache_requests_total{result=\"hit\"} 1"));
}

TEST(VisionServiceTest, KeysNameWhatMakesADifference) {
  VisionServer server;
  std::set<std::string> keys;
  v1::EncodeHeader published;
  published.set_policy(v1::IMAGE_POLICY_PUBLISHED);
  v1::EncodeHeader one_tile;
  one_tile.mutable_tiling()->set_best_of_all(false);
  for (const v1::EncodeHeader& header : {v1::EncodeHeader(), published, one_tile}) {
    EncodeClient client(server);
    client.SendHeader(header);
    client.SendBytes(TestPicture());
    client.SendEnd();
    keys.insert(client.ReadKey().key());
    EXPECT_TRUE(client.Finish().ok());
  }
  EncodeClient other(server);
  other.SendPicture(TestPicture("scene_400x300.png"));
  keys.insert(other.ReadKey().key());
  EXPECT_TRUE(other.Finish().ok());
  EXPECT_EQ(keys.size(), 4u);
}

TEST(VisionServiceTest, NamesWhatIsWrong) {
  VisionEngineOptions options;
  options.image_limits.max_bytes = 300'000;
  options.image_limits.max_pixels = 400'000;
  VisionServer server(options);
  const auto check = [&](EncodeClient& client, grpc::StatusCode code, const char* text) {
    const grpc::Status status = client.Finish();
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  };
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;
  const auto order = grpc::StatusCode::FAILED_PRECONDITION;
  {
    EncodeClient client(server);
    client.SendBytes("x");
    check(client, order, "out of order");
  }
  {
    EncodeClient client(server);
    client.SendHeader();
    client.SendStart(ReturnStart());
    check(client, order, "before end_of_image");
  }
  {
    EncodeClient client(server);
    client.SendHeader();
    client.SendBytes("x");
    check(client, order, "the stream ended");
  }
  {
    EncodeClient client(server);
    client.SendPicture("this is no picture");
    check(client, invalid, "");
  }
  {
    EncodeClient client(server);
    v1::EncodeHeader header;
    header.set_total_bytes(300'001);
    client.SendHeader(header);
    check(client, invalid, "300001 bytes, the limit is 300000");
  }
  {
    EncodeClient client(server);
    client.SendPicture(std::string(300'001, 'x'));
    check(client, invalid, "the limit is 300000");
  }
  {
    v1::EncodeHeader header;
    header.mutable_tiling()->set_max_tiles(65);
    EncodeClient client(server);
    client.SendHeader(header);
    check(client, invalid, "max_tiles 65");
  }
  {
    EncodeClient client(server);
    client.SendPicture(TestPicture());
    client.ReadKey();
    client.SendStart(ReturnStart(1'000'000));
    check(client, invalid, "first_embedding 1000000");
  }
  {
    // Cut off: the header is fine, the pixels are not.
    EncodeClient client(server);
    const std::string picture = TestPicture();
    client.SendPicture(picture.substr(0, picture.size() / 2));
    if (!client.ReadKey().key().empty()) {
      client.SendStart(ReturnStart());
      EXPECT_EQ(client.ReadDone().status_code(), static_cast<int>(invalid));
    }
    client.Finish();
  }
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(VisionServiceTest, TooManyPixelsAreRefusedByTheHeader) {
  VisionEngineOptions options;
  options.image_limits.max_pixels = 100'000;
  VisionServer server(options);
  EncodeClient client(server);
  client.SendPicture(TestPicture());
  const grpc::Status status = client.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("100000"));
}

TEST(VisionServiceTest, FullQueuesSaySo) {
  {
    VisionEngineOptions options;
    options.max_queued_tiles = 2;
    VisionServer server(options);
    EncodeClient client(server);
    client.SendPicture(TestPicture());
    client.ReadKey();
    client.SendStart(ReturnStart());
    const grpc::Status status = client.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(status.error_message(), HasSubstr("max_queued_tiles is 2"));
    EXPECT_TRUE(server.BecomesIdle());
  }
  VisionEngineOptions options;
  options.max_held_images = 1;
  VisionServer server(options);
  EncodeClient first(server);
  first.SendPicture(TestPicture());
  first.ReadKey();
  EncodeClient second(server);
  second.SendHeader();
  const grpc::Status status = second.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("max_held_images is 1"));
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(VisionServiceTest, CancelFreesEverything) {
  VisionServer server;
  EncodeClient client(server);
  client.SendPicture(TestPicture());
  client.ReadKey();
  client.SendStart(ReturnStart());
  client.Cancel();
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(VisionServiceTest, EqualPicturesShareOneEncoding) {
  VisionServer server;
  std::vector<std::unique_ptr<EncodeClient>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<EncodeClient>(server));
    clients.back()->SendPicture(TestPicture());
    clients.back()->ReadKey();
  }
  for (const auto& client : clients) client->SendStart(ReturnStart());
  for (const auto& client : clients) {
    EXPECT_EQ(client->ReadDone().status_code(), 0);
    EXPECT_TRUE(client->data == clients[0]->data);
    EXPECT_TRUE(client->Finish().ok());
  }
  EXPECT_FALSE(clients[0]->data.empty());
  EXPECT_EQ(server.engine().snapshot().num_encoded_tiles,
            1 + clients[0]->layout.tiles_wide() * clients[0]->layout.tiles_high());
  EXPECT_TRUE(server.BecomesIdle());
}

TEST(VisionServiceTest, HeldPicturesExpire) {
  VisionServer server({}, {.held_image_timeout_ms = 100});
  EncodeClient client(server);
  client.SendPicture(TestPicture());
  client.ReadKey();
  EXPECT_TRUE(server.BecomesIdle());
  const grpc::Status status = client.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("held_image_timeout_ms 100"));
}

}  // namespace
}  // namespace vl2
