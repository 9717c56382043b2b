#include "vision_service/engine/held_images.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"

namespace vl2 {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<HeldImage> Hold(HeldImages& images, const std::string& client) {
  auto image = images.Hold(client);
  EXPECT_TRUE(image.ok()) << image.status();
  return image.ok() ? *std::move(image) : nullptr;
}

TEST(HeldImagesTest, AGreedyClientKeepsNobodyOut) {
  HeldImages images({.max_images = 8, .max_bytes = 1000, .max_file_bytes = 1000});
  std::vector<std::unique_ptr<HeldImage>> greedy, other;
  for (int i = 0; i < 8; ++i) greedy.push_back(Hold(images, "greedy"));
  EXPECT_TRUE(absl::IsResourceExhausted(images.Hold("greedy").status()));
  ASSERT_TRUE(greedy[0]->Append(std::string(1000, 'x')).ok());
  for (int i = 0; i < 4; ++i) other.push_back(Hold(images, "other"));
  EXPECT_TRUE(absl::IsResourceExhausted(images.Hold("other").status())) << "its share is 4";
  EXPECT_TRUE(other[0]->Append(std::string(300, 'x')).ok());
  EXPECT_TRUE(other[1]->Append(std::string(200, 'x')).ok());
  EXPECT_FALSE(other[1]->Append(std::string(1, 'x')).ok()) << "its share is 500 bytes";
  EXPECT_FALSE(greedy[1]->Append(std::string(1, 'x')).ok());
  EXPECT_EQ(images.num_images(), 12);
  EXPECT_EQ(images.num_bytes(), 1500);
  EXPECT_EQ(images.num_clients(), 2);
  greedy.clear();
  EXPECT_TRUE(other[1]->Append(std::string(400, 'x')).ok()) << "alone again";
  other.clear();
  EXPECT_EQ(images.num_images() + images.num_bytes() + images.num_clients(), 0);
}

TEST(HeldImagesTest, OneRequestsPicturesCountTogether) {
  HeldImages images({.max_request_bytes = 1000});
  auto a = Hold(images, "client"), b = Hold(images, "client"), c = Hold(images, "client");
  EXPECT_TRUE(a->CountForRequest("request", "a", 600).ok());
  EXPECT_TRUE(b->CountForRequest("request", "b", 400).ok());
  const absl::Status status = c->CountForRequest("request", "c", 1);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << "no later attempt will do better";
  EXPECT_THAT(Message(status),
              AllOf(HasSubstr("takes 1 bytes decoded, and 2 other pictures of the request 1000"),
                    HasSubstr("the limit for a request is 1000")));
  // Others' requests and calls that name none are not concerned.
  EXPECT_TRUE(c->CountForRequest("", "c", 5000).ok());
  EXPECT_TRUE(Hold(images, "another")->CountForRequest("request", "c", 1000).ok());
  EXPECT_TRUE(Hold(images, "client")->CountForRequest("another", "c", 1000).ok());
  b.reset();
  EXPECT_TRUE(c->CountForRequest("request", "c", 400).ok());
  EXPECT_TRUE(
      absl::IsInvalidArgument(Hold(images, "client")->CountForRequest("alone", "too large", 1001)));
}

// A call that is repeated before the first attempt's end has been heard of, and a picture that
// comes twice in a conversation.
TEST(HeldImagesTest, TheSamePictureCountsOnceInARequest) {
  HeldImages images({.max_request_bytes = 1000});
  auto first = Hold(images, "client");
  EXPECT_TRUE(first->CountForRequest("request", "a", 700).ok());
  auto again = Hold(images, "client");
  EXPECT_TRUE(again->CountForRequest("request", "a", 700).ok());
  auto other = Hold(images, "client");
  EXPECT_TRUE(other->CountForRequest("request", "b", 300).ok());
  first.reset();
  auto more = Hold(images, "client");
  EXPECT_FALSE(more->CountForRequest("request", "c", 1).ok()) << "the second attempt still counts";
  again.reset();
  EXPECT_TRUE(more->CountForRequest("request", "c", 700).ok());
}

}  // namespace
}  // namespace vl2
