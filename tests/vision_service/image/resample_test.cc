#include "vision_service/image/resample.h"

#include <algorithm>
#include <cstring>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"
#include "tests/vision_service/image/csv.h"
#include "vision_service/image/canvas.h"

namespace vl2 {
namespace {

// The noise of data/make_resize_cases.py.
Image Noise(Size size, bool binary) {
  Image image(size);
  uint32_t state = static_cast<uint32_t>(size.width) * 7919u + static_cast<uint32_t>(size.height);
  for (size_t i = 0; i < image.num_bytes(); ++i) {
    state = state * 1664525u + 1013904223u;
    image.data()[i] = static_cast<uint8_t>(binary ? (state >> 31 ? 255 : 0) : state >> 16);
  }
  // Nothing may depend on what stands behind the last pixel.
  std::memset(image.data() + image.num_bytes(), 0xab, Image::kPaddingBytes);
  return image;
}

std::string Hash(const Image& image) { return Sha256Hex(image.data(), image.num_bytes()); }

void ExpectPillowsBytes() {
  const auto rows = ReadCsv(VL2_TEST_DATA "/vision_service/image/data/resize_cases.csv");
  ASSERT_GT(rows.size(), 30u);
  for (const auto& row : rows) {
    ASSERT_EQ(row.size(), 6u);
    const Size in{std::stoi(row[0]), std::stoi(row[1])};
    const Size out{std::stoi(row[2]), std::stoi(row[3])};
    const Image image = Noise(in, row[4] == "1");
    EXPECT_EQ(Hash(Resize(image, out)), row[5]) << in << " to " << out;
  }
}

TEST(ResampleTest, MatchesPillow) { ExpectPillowsBytes(); }

TEST(ResampleTest, AllInstructionSetsGiveTheSameBytes) {
  int tried = 0;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    ExpectPillowsBytes();
    ++tried;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_GE(tried, 1);
}

TEST(ResampleTest, RowsInAnyPortionAndOrderAreTheSame) {
  const Image image = Noise({300, 211}, false);
  for (const Size size : {Size{128, 90}, Size{300, 90}, Size{128, 211}, Size{400, 350}}) {
    const Image whole = Resize(image, size);
    Resampler resampler(image, size);
    const size_t stride = whole.row_bytes() + 7;
    std::vector<uint8_t> rows(stride * 40, 0xee);
    for (const auto& [first, count] :
         std::vector<std::pair<int, int>>{{0, 1}, {1, 40}, {30, 40}, {85, 5}, {0, 17}, {50, 0}}) {
      std::fill(rows.begin(), rows.end(), uint8_t{0xee});
      resampler.Rows(first, count, rows.data(), stride);
      for (int y = 0; y < count; ++y) {
        const uint8_t* row = rows.data() + stride * static_cast<size_t>(y);
        ASSERT_EQ(std::memcmp(row, whole.row(first + y), whole.row_bytes()), 0)
            << size << " row " << first + y;
        // Bytes behind a row belong to someone else.
        for (size_t i = whole.row_bytes(); i < stride; ++i) ASSERT_EQ(row[i], 0xee) << size;
      }
    }
  }
}

TEST(ResampleTest, WeightsAddUpToOne) {
  for (const auto& [in, out] : std::vector<std::pair<int, int>>{
           {1, 1}, {1, 384}, {7, 3}, {4000, 1152}, {384, 3456}, {60000, 384}, {999, 1}}) {
    const ResampleWeights weights = MakeBicubicWeights(in, out);
    ASSERT_EQ(weights.windows.size(), static_cast<size_t>(out));
    for (size_t i = 0; i < weights.windows.size(); ++i) {
      const auto [first, count] = weights.windows[i];
      ASSERT_GE(first, 0);
      ASSERT_GE(count, 1);
      ASSERT_LE(first + count, in);
      ASSERT_LE(count, weights.stride);
      const auto begin = weights.weights.begin() + static_cast<long>(i) * weights.stride;
      int64_t sum = 0;
      for (int t = 0; t < count; ++t) sum += begin[t];
      EXPECT_NEAR(static_cast<double>(sum), 1 << 22, count / 2.0 + 1) << in << " to " << out;
      EXPECT_TRUE(std::all_of(begin + count, begin + weights.stride, [](int w) { return w == 0; }));
    }
  }
}

TEST(CanvasTest, PastesCentredAndCutsTiles) {
  const Image image = Noise({90, 40}, false);
  const Size size{96, 43};
  const Image resized = Resize(image, size);
  const ViewGeometry view{{96, 64}, size, 0, 10};
  const Rgb background = {1, 2, 3};
  Canvas canvas(image, view, 32, background);
  ASSERT_EQ(canvas.tiles_wide(), 3);
  ASSERT_EQ(canvas.tiles_high(), 2);
  for (int row = 0; row < 2; ++row) {
    const std::vector<Tile> tiles = canvas.TileRow(row);
    ASSERT_EQ(tiles.size(), 3u);
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 96; ++x) {
        const uint8_t* pixel = tiles[static_cast<size_t>(x / 32)].row(y) + 3 * (x % 32);
        const int picture_y = row * 32 + y - 10;
        const bool inside = picture_y >= 0 && picture_y < 43;
        const uint8_t* expected = inside ? resized.row(picture_y) + 3 * x : background.data();
        ASSERT_EQ(std::memcmp(pixel, expected, 3), 0) << x << ", " << y << " of row " << row;
      }
    }
  }
}

TEST(TileTest, NormalizesLikeTheReference) {
  Tile tile(16);
  for (size_t i = 0; i < tile.num_bytes(); ++i) tile.data()[i] = static_cast<uint8_t>(i * 7);
  std::vector<float> planes(tile.num_bytes());
  NormalizeTile(tile, PixelNormalizer({0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, true), planes.data());
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < 256; ++i) {
      const double byte = tile.data()[3 * i + c];
      EXPECT_NEAR(planes[c * 256 + i], (byte / 255.0 - 0.5) / 0.5, 1e-6);
    }
  }
  NormalizeTile(tile, PixelNormalizer({0.1f, 0.2f, 0.3f}, {0.4f, 0.5f, 0.6f}, true), planes.data());
  EXPECT_NEAR(planes[256 + 3], (tile.data()[10] / 255.0 - 0.2) / 0.5, 1e-6);
  NormalizeTile(tile, PixelNormalizer({0.5f, 0.5f, 0.5f}, {0.f, 0.f, 0.f}, false), planes.data());
  EXPECT_FLOAT_EQ(planes[512 + 5], tile.data()[17] / 255.0f);
}

}  // namespace
}  // namespace vl2
