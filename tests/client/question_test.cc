#include "client/question.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace vl2::client {
namespace {

using ::testing::HasSubstr;

const std::string kScene = Cat(VL2_TEST_DATA, "/golden/data/images/scene_400x300.png");

std::string Refusal(const std::string& path, const std::string& input = "") {
  std::istringstream stream(input);
  const auto bytes = ReadPicture(path, stream);
  EXPECT_FALSE(bytes.ok());
  return Message(bytes.status());
}

// A file of `size` bytes that takes no room on disk; gone with this.
class SparseFile {
 public:
  explicit SparseFile(uintmax_t size) : path_(Cat(::testing::TempDir(), "/vl2_sparse.png")) {
    std::ofstream(path_) << "\x89PNG\r\n\x1a\n";
    std::filesystem::resize_file(path_, size);
  }
  ~SparseFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(Question, PicturesThenTheQuestion) {
  const std::string bytes = *ReadFile(kScene, 1 << 20);
  std::istringstream input(bytes);
  AskArguments ask;
  ask.pictures = {kScene, "-"};
  ask.question = "Why?";
  ask.system = "Be brief.";
  ask.temperature = 0;
  ask.top_k = 3;
  ask.logit_bias = {{5, 1.5}};
  ask.seed = 9;
  ask.samples = 2;
  ask.max_tokens = 11;
  ask.tiling = {.kind = TilingChoice::Kind::kFixed, .tiles_wide = 2, .tiles_high = 3};
  const auto request = MakeQuestion(ask, input);
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->messages_size(), 2);
  EXPECT_EQ(request->messages(0).role(), v1::Message::ROLE_SYSTEM);
  EXPECT_EQ(request->messages(0).parts(0).text(), "Be brief.");
  const v1::Message& question = request->messages(1);
  EXPECT_EQ(question.role(), v1::Message::ROLE_USER);
  ASSERT_EQ(question.parts_size(), 3);
  EXPECT_EQ(question.parts(0).image().data(), bytes);
  EXPECT_EQ(question.parts(1).image().data(), bytes);
  EXPECT_EQ(question.parts(1).image().tiling().fixed().tiles_high(), 3);
  EXPECT_EQ(question.parts(2).text(), "Why?");
  EXPECT_EQ(request->max_new_tokens(), 11);
  EXPECT_EQ(request->num_samples(), 2);
  const v1::SamplingParams& sampling = request->sampling();
  EXPECT_TRUE(sampling.has_temperature() && sampling.has_top_k());
  EXPECT_FALSE(sampling.has_top_p() || sampling.has_repetition_penalty());
  EXPECT_EQ(sampling.seed(), 9u);
  EXPECT_EQ(sampling.logit_bias().at(5), 1.5);
}

TEST(Question, TilingModes) {
  using Kind = TilingChoice::Kind;
  const auto image = [](const TilingChoice& tiling) {
    AskArguments ask;
    ask.pictures = {kScene};
    ask.question = "x";
    ask.tiling = tiling;
    std::istringstream input;
    return MakeQuestion(ask, input)->messages(0).parts(0).image();
  };
  EXPECT_FALSE(image({}).has_tiling());
  EXPECT_TRUE(image({.kind = Kind::kBest}).tiling().best_of_all());
  const v1::Image single = image({.kind = Kind::kSingle});
  EXPECT_TRUE(single.tiling().has_best_of_all() && !single.tiling().best_of_all());
  EXPECT_EQ(image({.kind = Kind::kMaxTiles, .max_tiles = 4}).tiling().max_tiles(), 4);
}

TEST(Question, PicturesThatAreNone) {
  EXPECT_THAT(Refusal("/nothing/here.png"), HasSubstr("/nothing/here.png: no such file"));
  EXPECT_THAT(Refusal(VL2_TEST_DATA), HasSubstr("folder"));
  EXPECT_THAT(Refusal(Cat(VL2_TEST_DATA, "/CMakeLists.txt")), HasSubstr("not recognised"));
  EXPECT_THAT(Refusal("-"), HasSubstr("standard input"));
}

TEST(Question, PicturesThatAreTooLarge) {
  EXPECT_THAT(Refusal(SparseFile(kMaxPictureBytes + 1).path()), HasSubstr("20 MiB"));
  // What has no size to look at is cut off while it is read.
  EXPECT_THAT(Refusal("/dev/zero"), HasSubstr("20 MiB"));
  EXPECT_THAT(Refusal("-", std::string(kMaxPictureBytes + 1, 'x')), HasSubstr("20 MiB"));
  std::istringstream none;
  EXPECT_TRUE(ReadPicture(SparseFile(kMaxPictureBytes).path(), none).ok());
}

}  // namespace
}  // namespace vl2::client
