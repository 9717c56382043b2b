#include "client/box_drawing.h"

#include <cmath>
#include <fstream>
#include <limits>

#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "vision_service/image/image_decoder.h"

namespace vl2::client {
namespace {

std::string Bytes(const std::string& name) {
  const auto bytes = ReadFile(Cat(VL2_TEST_DATA, "/", name), 1 << 20);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

Image Decoded(std::string_view bytes) {
  auto image = ImageDecoder().Decode(bytes, DecodePolicy::Serving());
  EXPECT_TRUE(image.ok()) << image.status();
  return image.ok() ? *std::move(image) : Image({1, 1});
}

v1::BoxGroup Group(const std::string& label, double left, double top, double right, double bottom,
                   int image_index = 0) {
  v1::BoxGroup group;
  group.set_label(label);
  group.set_image_index(image_index);
  v1::Box& box = *group.add_boxes();
  box.set_left(left);
  box.set_top(top);
  box.set_right(right);
  box.set_bottom(bottom);
  return group;
}

bool Same(const Image& a, const Image& b, int x, int y) {
  return std::equal(a.row(y) + 3 * x, a.row(y) + 3 * x + 3, b.row(y) + 3 * x);
}

const char* const kScene = "golden/data/images/scene_640x480.png";

TEST(BoxDrawing, FramesAndNothingElse) {
  const std::vector<v1::BoxGroup> groups = {Group("", 100, 50, 300, 200)};
  const auto png = DrawBoxes(Bytes(kScene), groups, 0);
  ASSERT_TRUE(png.ok()) << png.status();
  EXPECT_EQ(png->substr(1, 3), "PNG");
  const Image before = Decoded(Bytes(kScene));
  const Image after = Decoded(*png);
  ASSERT_EQ(after.size(), before.size());
  // Two pixels wide, inside the box.
  for (int y = 0; y < after.height(); ++y) {
    for (int x = 0; x < after.width(); ++x) {
      const bool in_box = x >= 100 && x < 300 && y >= 50 && y < 200;
      const bool inside = x >= 102 && x < 298 && y >= 52 && y < 198;
      if (in_box && !inside) {
        ASSERT_EQ(after.row(y)[3 * x], 214) << x << "," << y;
      } else {
        ASSERT_TRUE(Same(before, after, x, y)) << x << "," << y;
      }
    }
  }
}

TEST(BoxDrawing, LabelsAreTextNotMarkup) {
  const Image plain = Decoded(Bytes(kScene));
  std::string long_label;
  for (int i = 0; i < 500; ++i) long_label += "\xe4\xb8\xad";
  for (const std::string& label :
       {std::string("a cat"), std::string("<b>&\"unfinished"), long_label}) {
    const std::vector<v1::BoxGroup> groups = {Group(label, 100, 50, 300, 200)};
    const auto png = DrawBoxes(Bytes(kScene), groups, 0);
    ASSERT_TRUE(png.ok()) << png.status();
    const Image after = Decoded(*png);
    int white = 0;
    for (int y = 52; y < 70; ++y) {
      for (int x = 102; x < 250; ++x) {
        const uint8_t* const pixel = after.row(y) + 3 * x;
        white += pixel[0] > 250 && pixel[1] > 250 && pixel[2] > 250;
      }
    }
    // Without an installed font there is no label, which is documented.
    if (Same(plain, after, 103, 53)) GTEST_SKIP() << "no font is installed";
    EXPECT_GT(white, 10) << label;
  }
}

TEST(BoxDrawing, DrawsOnTheUprightPicture) {
  // Stored lying, shown standing.
  const std::string bytes = Bytes("vision_service/image/data/odd/orientation6.jpg");
  const Image before = Decoded(bytes);
  const std::vector<v1::BoxGroup> groups = {Group("", 0, 0, before.width(), before.height())};
  const auto png = DrawBoxes(bytes, groups, 0);
  ASSERT_TRUE(png.ok()) << png.status();
  const Image after = Decoded(*png);
  ASSERT_EQ(after.size(), before.size());
  EXPECT_EQ(after.row(after.height() - 1)[3 * (after.width() - 1)], 214);
}

TEST(BoxDrawing, OnlyTheBoxesOfThePictureAndColoursByLabel) {
  const std::vector<v1::BoxGroup> groups = {Group("", 10, 10, 50, 50, 1),
                                            Group("b", 300, 300, 400, 400, 0),
                                            Group("", 10, 10, 50, 50, 0)};
  const Image before = Decoded(Bytes(kScene));
  const auto only_first = DrawBoxes(Bytes(kScene), std::span(groups).subspan(0, 1), 0);
  EXPECT_TRUE(Same(before, Decoded(*only_first), 10, 10));
  const Image after = Decoded(*DrawBoxes(Bytes(kScene), groups, 0));
  EXPECT_FALSE(Same(before, after, 10, 10));
  EXPECT_NE(after.row(10)[3 * 10], after.row(399)[3 * 399]);
}

TEST(BoxDrawing, AnyCoordinatesAreSafe) {
  const double huge = std::numeric_limits<double>::max();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<v1::BoxGroup> groups = {
      Group("x", -huge, -huge, huge, huge), Group("x", nan, nan, nan, nan),
      Group("x", 640, 480, 640, 480),       Group("x", 300, 300, 100, 100),
      Group("x", 639, 479, 700, 700),       Group("x", INFINITY, 0, -INFINITY, 1)};
  EXPECT_TRUE(DrawBoxes(Bytes(kScene), groups, 0).ok());
}

TEST(BoxDrawing, RefusesWhatIsNoPicture) {
  EXPECT_EQ(DrawBoxes("nothing", {}, 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BoxDrawing, PathsOfSeveralPictures) {
  EXPECT_EQ(BoxesPath("a.b/out.png", 0, 1), "a.b/out.png");
  EXPECT_EQ(BoxesPath("a.b/out.png", 2, 3), "a.b/out-2.png");
}

}  // namespace
}  // namespace vl2::client
