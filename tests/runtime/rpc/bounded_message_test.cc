#include "runtime/rpc/bounded_message.h"

#include <string>

#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "vl2/v1/chat.pb.h"

namespace vl2 {
namespace {

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  // In pieces, as they come from a socket.
  std::vector<grpc::Slice> slices;
  for (size_t begin = 0; begin < bytes.size(); begin += 7) {
    slices.emplace_back(bytes.substr(begin, 7));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

v1::ChatRequest Request() {
  v1::ChatRequest request;
  v1::Message& message = *request.add_messages();                  // 1 field
  message.set_role(v1::Message::ROLE_USER);                        // 2
  message.add_parts()->set_text("What is it?");                    // 3, 4
  message.add_parts()->mutable_image()->set_data("not an image");  // 5, 6, 7
  (*request.mutable_sampling()->mutable_logit_bias())[5] = 1.5;    // 8, 9, 10, 11
  request.add_stop_token_ids(1);                                   // 12, 1 byte: 13
  request.add_stop_token_ids(300);                                 // 2 bytes: 15
  request.set_max_new_tokens(4);                                   // 16
  return request;
}

TEST(BoundedMessage, ParsesWhatFits) {
  const v1::ChatRequest request = Request();
  v1::ChatRequest parsed;
  const absl::Status status = ParseBounded(BufferOf(request.SerializeAsString()), 16, parsed);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(parsed.SerializeAsString(), request.SerializeAsString());
  EXPECT_TRUE(ParseBounded(BufferOf(""), 0, parsed).ok());
}

TEST(BoundedMessage, RefusesOneFieldMore) {
  v1::ChatRequest parsed;
  const absl::Status status = ParseBounded(BufferOf(Request().SerializeAsString()), 15, parsed);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(Message(status), "the ChatRequest has more than 15 fields or 16 levels");
}

TEST(BoundedMessage, CountsUnknownFieldsAndPackedLists) {
  v1::ChatRequest parsed;
  std::string unknown;
  for (int i = 0; i < 100; ++i) unknown += {'\xf8', '\x7f', '\x01'};  // field 2047, varint
  EXPECT_TRUE(ParseBounded(BufferOf(unknown), 100, parsed).ok());
  EXPECT_FALSE(ParseBounded(BufferOf(unknown), 99, parsed).ok());
  v1::ChatRequest packed;
  for (int i = 0; i < 100; ++i) packed.add_stop_token_ids(1);
  EXPECT_TRUE(ParseBounded(BufferOf(packed.SerializeAsString()), 101, parsed).ok());
  EXPECT_FALSE(ParseBounded(BufferOf(packed.SerializeAsString()), 100, parsed).ok());
}

TEST(BoundedMessage, RefusesWhatIsNoMessage) {
  v1::ChatRequest parsed;
  const std::string whole = Request().SerializeAsString();
  for (size_t size = 1; size < whole.size(); ++size) {
    const std::string part = whole.substr(0, size);
    const bool valid = v1::ChatRequest().ParseFromString(part);
    EXPECT_EQ(ParseBounded(BufferOf(part), 1000, parsed).ok(), valid) << size;
  }
  for (const std::string& bytes :
       {std::string(1, '\0'), std::string("\x0b"), std::string("\x0c"), std::string("\x0a\xff"),
        std::string("\x0a\xff\xff\xff\xff\x0f"), std::string("\x0a\x02\x12\x7f")}) {
    const absl::Status status = ParseBounded(BufferOf(bytes), 1000, parsed);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  }
}

}  // namespace
}  // namespace vl2
