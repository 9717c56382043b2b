// Uploads of embeddings over a real connection: what is taken, and what is refused how.
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/lm_service/service/generate_client.h"
#include "tests/lm_service/service/language_server.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kNumEmbeddings = 100;

// A Generate call that waits for one picture.
class UploadTest : public testing::Test {
 protected:
  void Begin(LanguageServer& server) {
    const auto stub = LanguageStub(server.address());
    hidden_ = server.model().hidden();
    address_ = server.address();
    v1::GenerateRequest request = PictureRequest(kNumEmbeddings, 8);
    request.set_ignore_end_token(true);
    context_ = std::make_unique<grpc::ClientContext>();
    reader_ = stub->Generate(context_.get(), request);
    while (ReadEvent(*reader_, record_) && !record_.events.back().has_slot_needed()) {
    }
    ASSERT_TRUE(record_.events.back().has_slot_needed());
    const v1::SlotNeeded& needed = record_.events.back().slot_needed();
    EXPECT_EQ(needed.slot(), 0);
    EXPECT_EQ(needed.first_embedding(), 0);
    EXPECT_EQ(needed.upload_token().size(), 32u);
    header_.set_model_id(server.model_id());
    header_.set_sequence_id(record_.events.front().accepted().sequence_id());
    header_.set_slot(0);
    header_.set_upload_token(needed.upload_token());
    header_.set_dtype(v1::DTYPE_F32);
  }
  void ReadToTheEnd() {
    while (ReadEvent(*reader_, record_)) {
    }
  }
  // Embeddings [first, first + count) of a made-up picture; exact in bfloat16.
  std::vector<float> Rows(int64_t first, int64_t count) const {
    std::vector<float> rows(static_cast<size_t>(count * hidden_));
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto at = first * hidden_ + static_cast<int64_t>(i);
      rows[i] = static_cast<float>(at * 2654435761 % 255 - 127) / 128.0f;
    }
    return rows;
  }
  v1::UploadRequest Chunk(int64_t first, int64_t count) const {
    return ChunkOf(Rows(first, count), first, count);
  }

  int64_t hidden_ = 0;
  std::string address_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> reader_;
  CallRecord record_;
  v1::UploadHeader header_;
};

TEST_F(UploadTest, TypesAndPiecesGiveTheSameAnswer) {
  LanguageServer server;
  std::vector<int32_t> expected;
  for (int way = 0; way < 3; ++way) {
    record_ = {};
    ASSERT_NO_FATAL_FAILURE(Begin(server));
    std::vector<v1::UploadRequest> chunks;
    if (way == 0) chunks = {Chunk(0, kNumEmbeddings)};
    // Out of order, overlapping, and once more.
    if (way == 1) chunks = {Chunk(60, 40), Chunk(0, 30), Chunk(20, 45), Chunk(0, kNumEmbeddings)};
    if (way == 2) {
      header_.set_dtype(v1::DTYPE_BF16);
      v1::UploadRequest chunk = Chunk(0, kNumEmbeddings);
      std::string halves;
      const std::string& data = chunk.chunk().data();
      for (size_t i = 0; i < data.size(); i += 4) halves += data.substr(i + 2, 2);
      chunk.mutable_chunk()->set_data(halves);
      chunk.mutable_chunk()->set_crc32c(Crc32c(halves));
      chunks = {chunk};
    }
    v1::UploadSummary summary;
    const grpc::Status status = Upload(address_, header_, chunks, &summary);
    // The sequence may end while a repeated chunk is still on its way.
    if (way != 1) {
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(summary.num_embeddings(), kNumEmbeddings);
    }
    ReadToTheEnd();
    EXPECT_TRUE(record_.status.ok()) << record_.status.error_message();
    ASSERT_EQ(record_.ids.at(0).size(), 8u);
    if (way == 0) expected = record_.ids.at(0);
    EXPECT_EQ(record_.ids.at(0), expected) << way;
  }
  // The picture counts: other embeddings, another answer.
  record_ = {};
  ASSERT_NO_FATAL_FAILURE(Begin(server));
  EXPECT_TRUE(
      Upload(address_, header_, {ChunkOf(Rows(999, kNumEmbeddings), 0, kNumEmbeddings)}).ok());
  ReadToTheEnd();
  EXPECT_NE(record_.ids.at(0), expected);
  // Ended: nothing to upload for.
  const grpc::Status late = Upload(address_, header_, {Chunk(0, 1)});
  EXPECT_EQ(late.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(server.BecomesIdle());
}

TEST_F(UploadTest, RefusesWithoutHarm) {
  LanguageServer server;
  ASSERT_NO_FATAL_FAILURE(Begin(server));
  const auto refused = [&](const v1::UploadHeader& header, const v1::UploadRequest& chunk,
                           grpc::StatusCode code) {
    const grpc::Status status = Upload(address_, header, {chunk});
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    return status.error_message();
  };
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;
  v1::UploadHeader header = header_;
  header.mutable_upload_token()->front() ^= 1;
  EXPECT_THAT(refused(header, Chunk(0, 1), grpc::StatusCode::PERMISSION_DENIED),
              HasSubstr("wrong upload token"));
  header.clear_upload_token();
  refused(header, Chunk(0, 1), grpc::StatusCode::PERMISSION_DENIED);
  header = header_;
  header.set_sequence_id(header.sequence_id() + 1);
  refused(header, Chunk(0, 1), grpc::StatusCode::NOT_FOUND);
  header = header_;
  header.set_slot(1);
  EXPECT_THAT(refused(header, Chunk(0, 1), invalid), HasSubstr("slot 1"));
  header.set_slot(-1);
  refused(header, Chunk(0, 1), invalid);
  header = header_;
  header.set_model_id("another");
  EXPECT_THAT(refused(header, Chunk(0, 1), grpc::StatusCode::FAILED_PRECONDITION),
              HasSubstr("another"));
  header = header_;
  header.clear_dtype();
  EXPECT_THAT(refused(header, Chunk(0, 1), invalid), HasSubstr("dtype"));

  v1::UploadRequest chunk = Chunk(0, 2);
  chunk.mutable_chunk()->set_crc32c(chunk.chunk().crc32c() + 1);
  EXPECT_THAT(refused(header_, chunk, invalid), HasSubstr("crc32c"));
  chunk = Chunk(0, 2);
  for (const int64_t count : {int64_t{3}, int64_t{0}, int64_t{-1}, int64_t{1} << 62}) {
    chunk.mutable_chunk()->set_num_embeddings(count);
    EXPECT_THAT(refused(header_, chunk, invalid), HasSubstr(std::to_string(count)));
  }
  refused(header_, Chunk(kNumEmbeddings - 1, 2), invalid);
  refused(header_, Chunk(-1, 2), invalid);
  refused(header_, ChunkOf(Rows(0, 1), std::numeric_limits<int64_t>::max(), 1), invalid);
  std::vector<float> rows = Rows(0, 1);
  rows[3] = std::nanf("");
  EXPECT_THAT(refused(header_, ChunkOf(rows, 0, 1), invalid), HasSubstr("nan"));
  const auto large = static_cast<size_t>((int64_t{2} << 20) / 4 / hidden_ + 1);
  EXPECT_THAT(
      refused(header_, ChunkOf(std::vector<float>(large * static_cast<size_t>(hidden_)), 0, 1),
              invalid),
      HasSubstr("the limit is 2097152"));
  // Messages out of order.
  v1::UploadRequest second_header;
  *second_header.mutable_header() = header_;
  refused(header_, second_header, invalid);
  const auto stub = LanguageStub(address_);
  grpc::ClientContext context;
  v1::UploadSummary summary;
  const auto writer = stub->UploadEmbeddings(&context, &summary);
  writer->Write(Chunk(0, 1));
  EXPECT_EQ(writer->Finish().error_code(), invalid);

  // The sequence is as it was.
  EXPECT_TRUE(Upload(address_, header_, {Chunk(0, kNumEmbeddings)}).ok());
  ReadToTheEnd();
  EXPECT_TRUE(record_.status.ok()) << record_.status.error_message();
  EXPECT_TRUE(server.BecomesIdle());
}

TEST_F(UploadTest, EmbeddingsThatNeverComeEndTheSequence) {
  EngineOptions options = TestEngineOptions();
  options.scheduler.slot_wait_timeout_ms = 100;
  LanguageServer server(options);
  ASSERT_NO_FATAL_FAILURE(Begin(server));
  EXPECT_TRUE(Upload(address_, header_, {Chunk(0, 10)}).ok());
  ReadToTheEnd();
  EXPECT_EQ(record_.status.error_code(), grpc::StatusCode::UNAVAILABLE)
      << record_.status.error_message();
  EXPECT_TRUE(server.BecomesIdle());
}

}  // namespace
}  // namespace vl2
