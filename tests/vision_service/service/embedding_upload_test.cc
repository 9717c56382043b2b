// Uploads against language services that break off, refuse, or are slow.
#include "vision_service/service/embedding_upload.h"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "runtime/base/crc32c.h"
#include "runtime/base/status.h"
#include "tests/vision_service/service/vision_server.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;
using Reader = grpc::ServerReader<v1::UploadRequest>;

// Takes uploads as the test says.
class FakeLanguage : public v1::LanguageService::Service {
 public:
  // `index` counts the uploads from 0.
  using Script = std::function<grpc::Status(int index, grpc::ServerContext&, Reader&)>;

  explicit FakeLanguage(Script script) : script_(std::move(script)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeLanguage() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status UploadEmbeddings(grpc::ServerContext* context, Reader* reader,
                                v1::UploadSummary* summary) override {
    return script_(num_uploads++, *context, *reader);
  }

  // Reads one message; the bytes of chunks are appended in order.
  static bool ReadOne(Reader& reader, std::string& data, int64_t& next) {
    v1::UploadRequest request;
    if (!reader.Read(&request)) return false;
    if (!request.has_chunk()) return true;
    const v1::UploadChunk& chunk = request.chunk();
    EXPECT_EQ(chunk.first_embedding(), next);
    EXPECT_EQ(chunk.crc32c(), Crc32c(chunk.data()));
    EXPECT_LE(chunk.data().size(), size_t{2} << 20);
    next += chunk.num_embeddings();
    data += chunk.data();
    return true;
  }

  std::string address;
  std::atomic<int> num_uploads{0};

 private:
  const Script script_;
  std::unique_ptr<grpc::Server> server_;
};

v1::EncodeStart StartTo(const FakeLanguage& language, int64_t first = 0) {
  v1::EncodeStart start;
  start.set_first_embedding(first);
  v1::LanguageTarget& target = *start.mutable_language();
  target.set_address(language.address);
  target.set_sequence_id(5);
  target.set_slot(2);
  target.set_upload_token("secret");
  return start;
}

std::string AsBytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

TEST(EmbeddingUploadTest, OneThatBreaksOffIsRepeatedFromTheBeginning) {
  std::string data;
  FakeLanguage language([&](int index, grpc::ServerContext&, Reader& reader) {
    data.clear();
    int64_t next = 0;
    v1::UploadRequest header;
    EXPECT_TRUE(reader.Read(&header));
    EXPECT_EQ(header.header().sequence_id(), 5u);
    EXPECT_EQ(header.header().slot(), 2);
    EXPECT_EQ(header.header().upload_token(), "secret");
    if (index == 0) {
      EXPECT_TRUE(FakeLanguage::ReadOne(reader, data, next));
      EXPECT_GT(next, 0);
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken off");
    }
    while (FakeLanguage::ReadOne(reader, data, next)) {
    }
    return grpc::Status::OK;
  });
  VisionServer vision;
  const std::string picture = TestPicture();
  EncodeClient client(vision);
  client.SendPicture(picture);
  client.ReadKey();
  client.SendStart(StartTo(language));
  const v1::DeliveryDone done = client.ReadDone();
  EXPECT_EQ(done.status_code(), 0) << done.status_message();
  EXPECT_EQ(language.num_uploads, 2);
  EXPECT_TRUE(data == AsBytes(EncodeDirectly(picture)));
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_TRUE(vision.BecomesIdle());
}

TEST(EmbeddingUploadTest, RepeatsOnceAndOnlyWhatMayBeRepeated) {
  for (const auto& [code, num_uploads] : {std::pair(grpc::StatusCode::UNAVAILABLE, 2),
                                          std::pair(grpc::StatusCode::RESOURCE_EXHAUSTED, 1),
                                          std::pair(grpc::StatusCode::PERMISSION_DENIED, 1),
                                          std::pair(grpc::StatusCode::FAILED_PRECONDITION, 1)}) {
    // Refused before anything is read, while much is still to be sent.
    FakeLanguage language([code = code](int, grpc::ServerContext&, Reader&) {
      return grpc::Status(code, "not here");
    });
    VisionServer vision;
    EncodeClient client(vision);
    client.SendPicture(TestPicture());
    client.ReadKey();
    client.SendStart(StartTo(language));
    const v1::DeliveryDone done = client.ReadDone();
    EXPECT_EQ(done.status_code(), static_cast<int>(code));
    EXPECT_THAT(done.status_message(), HasSubstr("not here"));
    EXPECT_FALSE(done.not_needed());
    EXPECT_EQ(language.num_uploads, num_uploads);
    // The picture is still there for others.
    client.SendStart(ReturnStart());
    EXPECT_EQ(client.ReadDone().status_code(), 0);
    EXPECT_EQ(client.next, client.layout.num_embeddings());
    EXPECT_TRUE(client.Finish().ok());
  }
}

TEST(EmbeddingUploadTest, ARefusedUploadIsNoBadPicture) {
  FakeLanguage language([](int, grpc::ServerContext&, Reader&) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "embeddings 7 to 9 of 8");
  });
  VisionServer vision;
  EncodeClient client(vision);
  client.SendPicture(TestPicture());
  client.ReadKey();
  client.SendStart(StartTo(language));
  const v1::DeliveryDone done = client.ReadDone();
  EXPECT_EQ(done.status_code(), static_cast<int>(grpc::StatusCode::INTERNAL));
  EXPECT_THAT(done.status_message(), HasSubstr("embeddings 7 to 9 of 8"));
}

TEST(EmbeddingUploadTest, AnEndedSequenceNeedsNoMore) {
  FakeLanguage language([](int, grpc::ServerContext&, Reader&) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no sequence 5");
  });
  VisionServer vision;
  EncodeClient client(vision);
  client.SendPicture(TestPicture());
  client.ReadKey();
  client.SendStart(StartTo(language));
  const v1::DeliveryDone done = client.ReadDone();
  EXPECT_EQ(done.status_code(), 0);
  EXPECT_TRUE(done.not_needed());
}

TEST(EmbeddingUploadTest, ASlowReaderDelaysNobodyElse) {
  std::atomic<bool> read = false;
  std::string data;
  FakeLanguage slow([&](int, grpc::ServerContext& context, Reader& reader) {
    while (!read && !context.IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    int64_t next = 100;
    while (FakeLanguage::ReadOne(reader, data, next)) {
    }
    return grpc::Status::OK;
  });
  VisionServer vision;
  const std::string picture = TestPicture();
  const std::string expected = AsBytes(EncodeDirectly(picture));
  EncodeClient client(vision);
  client.SendPicture(picture);
  client.ReadKey();
  client.SendStart(StartTo(slow, 100));
  // Another call for the same picture, which shares its encoding, is served meanwhile.
  EncodeClient other(vision);
  other.SendPicture(picture);
  other.ReadKey();
  other.SendStart(ReturnStart());
  EXPECT_EQ(other.ReadDone().status_code(), 0);
  EXPECT_TRUE(other.data == expected);
  EXPECT_TRUE(other.Finish().ok());
  read = true;
  EXPECT_EQ(client.ReadDone().status_code(), 0);
  const size_t row_bytes = expected.size() / static_cast<size_t>(client.layout.num_embeddings());
  EXPECT_TRUE(data == expected.substr(100 * row_bytes));
  EXPECT_TRUE(client.Finish().ok());
  EXPECT_TRUE(vision.BecomesIdle());
}

TEST(EmbeddingUploadTest, ACancelledCallEndsAnUploadThatStandsStill) {
  std::atomic<bool> begun = false, cancelled = false;
  FakeLanguage stuck([&](int, grpc::ServerContext& context, Reader&) {
    begun = true;
    while (!context.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    cancelled = true;
    return grpc::Status::OK;
  });
  VisionServer vision;
  EncodeClient client(vision);
  client.SendPicture(TestPicture());
  client.ReadKey();
  client.SendStart(StartTo(stuck));
  while (!begun) std::this_thread::yield();
  client.Cancel();
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(vision.BecomesIdle());
  for (int i = 0; i < 5000 && !cancelled; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(cancelled);
}

}  // namespace
}  // namespace vl2
