#include "vision_service/image/preprocess.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"
#include "tests/vision_service/image/encoded_bytes.h"

namespace vl2 {
namespace {

using ::testing::HasSubstr;

const std::string kGolden = VL2_TEST_DATA "/golden/data/";

std::string Bytes(const std::string& path) {
  auto bytes = ReadFile(path, size_t{1} << 24);
  VL2_CHECK(bytes.ok()) << bytes.status();
  return *std::move(bytes);
}

Json JsonOf(const std::string& path) {
  auto json = ParseJsonFile(path);
  VL2_CHECK(json.ok()) << json.status();
  return *std::move(json);
}

// processor_config.json of the published models.
Json PublishedConfig() {
  Json candidates = Json::array();
  for (const auto& [wide, high] : std::vector<std::pair<int, int>>{
           {1, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {1, 4}, {4, 1}, {2, 2},
           {1, 5}, {5, 1}, {1, 6}, {6, 1}, {2, 3}, {3, 2}, {1, 7}, {7, 1},
           {1, 8}, {8, 1}, {2, 4}, {4, 2}, {1, 9}, {9, 1}, {3, 3}}) {
    candidates.push_back({wide * 384, high * 384});
  }
  return {
      {"candidate_resolutions", candidates}, {"downsample_ratio", 2},        {"patch_size", 14},
      {"image_mean", {0.5, 0.5, 0.5}},       {"image_std", {0.5, 0.5, 0.5}}, {"normalize", true}};
}

ImagePreprocessor Published() {
  const auto config = ParseImageProcessorConfig(PublishedConfig());
  VL2_CHECK(config.ok()) << config.status();
  return ImagePreprocessor(*config);
}

std::vector<Tile> AllTiles(TileStream stream) {
  std::vector<Tile> all;
  for (std::vector<Tile> part = stream.Next(); !part.empty(); part = stream.Next()) {
    for (Tile& tile : part) all.push_back(std::move(tile));
  }
  EXPECT_TRUE(stream.Next().empty());
  EXPECT_EQ(static_cast<int>(all.size()), stream.plan().num_tiles);
  return all;
}

std::string Hash(const Tile& tile) { return Sha256Hex(tile.data(), tile.num_bytes()); }

TEST(PreprocessTest, GoldenPixelsAreExact) {
  const ImagePreprocessor preprocessor = Published();
  const Json cases = JsonOf(kGolden + "pixels/pixels.json");
  ASSERT_EQ(cases.size(), 6u);
  for (const Json& expected : cases) {
    const std::string name = expected["name"];
    SCOPED_TRACE(name);
    const std::string bytes = Bytes(kGolden + "pixels/" + name + "_input.png");
    const auto image = preprocessor.decoder().Decode(bytes, DecodePolicy::Published());
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->size(), (Size{expected["width"], expected["height"]}));
    EXPECT_EQ(Sha256Hex(image->data(), image->num_bytes()), expected["input_rgb_sha256"]);

    auto stream = preprocessor.Tiles(bytes, DecodePolicy::Published(), Tiling::Published(true));
    ASSERT_TRUE(stream.ok()) << stream.status();
    const TilePlan plan = stream->plan();
    EXPECT_EQ(plan.local.canvas, (Size{expected["best_width"], expected["best_height"]}));
    EXPECT_EQ(plan.tiles_wide, expected["tiles_wide"]);
    EXPECT_EQ(plan.tiles_high, expected["tiles_high"]);
    const std::vector<Tile> tiles = AllTiles(*std::move(stream));
    ASSERT_EQ(tiles.size(), expected["tile_sha256_rgb_bytes"].size());
    for (size_t i = 0; i < tiles.size(); ++i) {
      EXPECT_EQ(Hash(tiles[i]), expected["tile_sha256_rgb_bytes"][i]) << "tile " << i;
    }
  }
}

TEST(PreprocessTest, GoldenConversationsGiveTheirTiles) {
  const ImagePreprocessor preprocessor = Published();
  int num_images = 0;
  for (const std::string name : {"c1_text", "c2_scene_640x480", "c4_two_images", "c6_multi_turn"}) {
    SCOPED_TRACE(name);
    const Json expected = JsonOf(kGolden + "cases/" + name + ".json");
    std::vector<std::string> images;
    for (const Json& message : expected["conversation"]) {
      if (!message.contains("images")) continue;
      for (const Json& image : message["images"]) images.push_back(image);
    }
    int num_embeddings = 0;
    std::vector<std::string> hashes;
    for (size_t i = 0; i < images.size(); ++i) {
      ++num_images;
      auto stream = preprocessor.Tiles(Bytes(kGolden + images[i]), DecodePolicy::Published(),
                                       Tiling::Published(images.size() <= 2));
      ASSERT_TRUE(stream.ok()) << stream.status();
      EXPECT_EQ(stream->plan().tiles_wide, expected["images_spatial_crop"][i][0]);
      EXPECT_EQ(stream->plan().tiles_high, expected["images_spatial_crop"][i][1]);
      num_embeddings += static_cast<int>(stream->plan().num_embeddings);
      for (const Tile& tile : AllTiles(*std::move(stream))) hashes.push_back(Hash(tile));
    }
    EXPECT_EQ(num_embeddings, expected["num_image_tokens"]);
    EXPECT_EQ(Json(hashes), expected.value("tile_sha256_rgb_bytes", Json::array()));
  }
  EXPECT_EQ(num_images, 4);
}

TEST(PreprocessTest, PartsComeGlobalFirstThenTileRows) {
  const ImagePreprocessor preprocessor = Published();
  auto stream = preprocessor.Tiles(Image(Size{900, 1100}), Tiling::Fixed(3, 2));
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ(stream->Next().size(), 1u);
  EXPECT_EQ(stream->Next().size(), 3u);
  EXPECT_EQ(stream->Next().size(), 3u);
  EXPECT_TRUE(stream->Next().empty());
}

TEST(PreprocessTest, PlanIsKnownFromTheHeader) {
  const ImagePreprocessor preprocessor = Published();
  const std::string bytes = Bytes(kGolden + "images/scene_640x480.png");
  const auto plan =
      preprocessor.Plan(bytes.substr(0, 200), DecodePolicy::Serving(), Tiling::Published(true));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->num_embeddings, 1023);
  EXPECT_FALSE(
      preprocessor.Tiles(bytes.substr(0, 200), DecodePolicy::Serving(), Tiling::Published(true))
          .ok());
}

TEST(PreprocessTest, TooNarrowPicturesAreRefusedBeforeDecoding) {
  const ImagePreprocessor preprocessor = Published();
  const auto stream = preprocessor.Tiles(PngOf({1000, 1}, 2, 8, "cut off"), DecodePolicy::Serving(),
                                         Tiling::Published(true));
  EXPECT_THAT(Message(stream.status()), HasSubstr("1000 x 1 is too narrow"));
}

TEST(ProcessorConfigTest, ReadsThePublishedFile) {
  const auto config = ParseImageProcessorConfig(PublishedConfig());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->geometry.tile_size, 384);
  EXPECT_EQ(config->geometry.candidate_resolutions.size(), 23u);
  EXPECT_EQ(config->geometry.embeddings_per_side(), 14);
  EXPECT_EQ(config->background(), kPublishedBackground);
  EXPECT_TRUE(config->normalize);
  Json other = PublishedConfig();
  other["normalize"] = false;
  other["image_mean"] = {0.0, 0.25, 1.0};
  EXPECT_EQ(ParseImageProcessorConfig(other)->background(), (Rgb{0, 63, 255}));
  EXPECT_FALSE(ParseImageProcessorConfig(other)->normalize);
}

TEST(ProcessorConfigTest, NamesTheKeyAtFault) {
  const auto message = [](const char* key, Json value) {
    Json json = PublishedConfig();
    json[key] = std::move(value);
    return Message(ParseImageProcessorConfig(json).status());
  };
  EXPECT_THAT(message("candidate_resolutions", Json::array()), HasSubstr("candidate_resolutions"));
  EXPECT_THAT(message("candidate_resolutions", nullptr), HasSubstr("candidate_resolutions"));
  EXPECT_THAT(message("candidate_resolutions", {{384, "384"}}), HasSubstr("[384,\"384\"]"));
  EXPECT_THAT(message("candidate_resolutions", {{384, 384}, {500, 384}}), HasSubstr("500 x 384"));
  EXPECT_THAT(message("patch_size", 0), HasSubstr("patch_size"));
  EXPECT_THAT(message("image_std", {0.0, 0.5, 0.5}), HasSubstr("image_std"));
  EXPECT_THAT(message("image_mean", {0.5, 0.5}), HasSubstr("image_mean"));
  EXPECT_THAT(message("normalize", "yes"), HasSubstr("normalize"));
  EXPECT_THAT(Message(ParseImageProcessorConfig(Json::array()).status()), HasSubstr("object"));
}

}  // namespace
}  // namespace vl2
