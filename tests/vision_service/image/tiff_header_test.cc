// TIFF colours: what is shown, what is not looked at and what is refused. Files of our own making,
// one strip each, expected values by the definition of each interpretation.
#include "vision_service/image/tiff_header.h"

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/status.h"
#include "tests/vision_service/image/encoded_bytes.h"
#include "vision_service/image/image_decoder.h"

namespace vl2 {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kWidth = 5, kHeight = 3, kPixels = kWidth * kHeight;

struct TiffCase {
  uint32_t photometric = 2;
  uint32_t bits = 8;
  uint32_t num_samples = 3;
  std::vector<uint32_t> extra;
  std::vector<TiffEntry> more;
  bool big_endian = false;
};

// Sample `sample` of pixel `pixel`, 8 or 16 bits.
uint32_t Sample(const TiffCase& file, int pixel, uint32_t sample) {
  const uint32_t value = (static_cast<uint32_t>(pixel) * 53 + sample * 101 + 7) * 2654435761u;
  return file.bits == 16 ? value >> 16 : value >> 24;
}

std::string Make(const TiffCase& file) {
  std::vector<TiffEntry> entries = {{256, {kWidth}},
                                    {257, {kHeight}},
                                    {258, std::vector<uint32_t>(file.num_samples, file.bits)},
                                    {259, {1}},
                                    {262, {file.photometric}},
                                    {277, {file.num_samples}},
                                    {278, {kHeight}},
                                    {279, {kPixels * file.num_samples * file.bits / 8}}};
  if (!file.extra.empty()) entries.push_back({338, file.extra});
  entries.insert(entries.end(), file.more.begin(), file.more.end());
  std::string data;
  for (int pixel = 0; pixel < kPixels; ++pixel) {
    for (uint32_t sample = 0; sample < file.num_samples; ++sample) {
      std::string bytes =
          LittleEndian(Sample(file, pixel, sample), static_cast<int>(file.bits) / 8);
      if (file.big_endian) bytes.assign(bytes.rbegin(), bytes.rend());
      data += bytes;
    }
  }
  return TiffOf(entries, data, file.big_endian);
}

int Multiply(int a, int b) { return (a * b + 127) / 255; }

// The colour of a pixel: upper bytes, inks as Pillow mixes them, alpha blended with white.
int Expected(const TiffCase& file, int pixel, int channel, int alpha_at, bool flatten) {
  const auto byte = [&](uint32_t sample) {
    return static_cast<int>(Sample(file, pixel, sample) >> (file.bits - 8));
  };
  int value = 0;
  if (file.photometric <= 1) {
    value = file.photometric == 0 ? 255 - byte(0) : byte(0);
  } else if (file.photometric == 2) {
    value = byte(static_cast<uint32_t>(channel));
  } else {
    const int paper = 255 - byte(3);
    value = paper - Multiply(byte(static_cast<uint32_t>(channel)), paper);
  }
  if (flatten && alpha_at >= 0) {
    value = 255 - Multiply(255 - value, byte(static_cast<uint32_t>(alpha_at)));
  }
  return value;
}

void ExpectShown(const TiffCase& file, int alpha_at) {
  const std::string bytes = Make(file);
  for (const bool flatten : {false, true}) {
    SCOPED_TRACE(Cat("photometric ", file.photometric, ", ", file.num_samples, " samples of ",
                     file.bits, " bits, extra ", ::testing::PrintToString(file.extra), ", flatten ",
                     flatten));
    const auto image = ImageDecoder().Decode(
        bytes,
        {.alpha = flatten ? DecodePolicy::Alpha::kFlattenOnWhite : DecodePolicy::Alpha::kDrop});
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_EQ(image->size(), (Size{kWidth, kHeight}));
    for (int pixel = 0; pixel < kPixels; ++pixel) {
      for (int channel = 0; channel < 3; ++channel) {
        ASSERT_EQ(image->data()[3 * pixel + channel],
                  Expected(file, pixel, channel, alpha_at, flatten))
            << "pixel " << pixel << ", channel " << channel;
      }
    }
  }
}

TEST(TiffHeaderTest, AnExtraSampleOfTypeZeroIsNoAlpha) {
  for (const bool big_endian : {false, true}) {
    for (const uint32_t bits : {8u, 16u}) {
      for (const auto& [photometric, colors] :
           std::vector<std::pair<uint32_t, uint32_t>>{{0, 1}, {1, 1}, {2, 3}, {5, 4}}) {
        const auto with = [&, photometric = photometric,
                           colors = colors](const std::vector<uint32_t>& extra) {
          return TiffCase{.photometric = photometric,
                          .bits = bits,
                          .num_samples = colors + static_cast<uint32_t>(extra.size()),
                          .extra = extra,
                          .more = {},
                          .big_endian = big_endian};
        };
        const auto first = static_cast<int>(colors);
        ExpectShown(with({}), -1);
        ExpectShown(with({0}), -1);
        ExpectShown(with({0, 0}), -1);
        ExpectShown(with({0, 0, 0}), -1);
        ExpectShown(with({2}), first);
        ExpectShown(with({2, 0}), first);
        ExpectShown(with({0, 2}), first + 1);
        ExpectShown(with({0, 2, 0}), first + 1);
      }
    }
  }
}

TEST(TiffHeaderTest, WithoutTheTagAFourthSampleIsAlpha) {
  ExpectShown({.num_samples = 4, .extra = {}, .more = {}}, 3);
}

TEST(TiffHeaderTest, SamplesThatAreNoColoursAreRefused) {
  struct Case {
    uint32_t photometric;
    uint32_t num_samples;
    const char* name;
    std::vector<TiffEntry> more = {};
  };
  const std::vector<Case> cases = {
      {4, 1, "transparency mask"},
      {5, 4, "inks other than CMYK", {{332, {2}}}},
      {6, 3, "YCbCr without JPEG"},
      {6, 3, "YCbCr without JPEG", {{530, {1, 1}}}},
      {8, 3, "CIELab"},
      {8, 1, "CIELab"},
      {9, 3, "ICCLab"},
      {10, 3, "ITULab"},
      {32803, 1, "colour filter array"},
      {32844, 1, "LogL"},
      {32845, 3, "LogLuv"},
      {34892, 3, "linear raw"},
      {7, 3, "unknown"},
      {65535, 3, "unknown"},
  };
  for (const Case& one : cases) {
    for (const uint32_t bits : {8u, 16u}) {
      const std::string bytes = Make({.photometric = one.photometric,
                                      .bits = bits,
                                      .num_samples = one.num_samples,
                                      .extra = {},
                                      .more = one.more});
      for (const DecodePolicy& policy : {DecodePolicy::Serving(), DecodePolicy::Published()}) {
        const auto image = ImageDecoder().Decode(bytes, policy);
        EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument) << one.name;
        EXPECT_THAT(Message(image.status()),
                    AllOf(HasSubstr(Cat("photometric interpretation ", one.photometric)),
                          HasSubstr(one.name)));
      }
    }
  }
  const auto too_few = ImageDecoder().Decode(
      Make({.photometric = 2, .num_samples = 2, .extra = {}, .more = {}}), DecodePolicy::Serving());
  EXPECT_THAT(Message(too_few.status()), HasSubstr("2 samples a pixel for 3 colours"));
}

// Pillow clips 16-bit grey above 255 to white, and takes no notice of which end is white.
TEST(TiffHeaderTest, Gray16WhiteIsZeroUnderBothPolicies) {
  for (const uint32_t photometric : {0u, 1u}) {
    const TiffCase file = {
        .photometric = photometric, .bits = 16, .num_samples = 1, .extra = {}, .more = {}};
    std::string bytes = Make(file);
    bytes[bytes.size() - 2] = 17;  // a value that is not clipped
    bytes[bytes.size() - 1] = 0;
    const auto published = ImageDecoder().Decode(bytes, DecodePolicy::Published());
    const auto serving = ImageDecoder().Decode(bytes, DecodePolicy::Serving());
    ASSERT_TRUE(published.ok() && serving.ok()) << published.status() << serving.status();
    for (int pixel = 0; pixel + 1 < kPixels; ++pixel) {
      EXPECT_EQ(published->data()[3 * pixel], std::min(255u, Sample(file, pixel, 0))) << pixel;
      EXPECT_EQ(serving->data()[3 * pixel], Expected(file, pixel, 0, -1, false)) << pixel;
    }
    EXPECT_EQ(published->data()[3 * kPixels - 3], 17);
    EXPECT_EQ(serving->data()[3 * kPixels - 3], photometric == 0 ? 255 : 0);
  }
}

// Directories may overlap, so that a small file has millions of entries.
TEST(TiffHeaderTest, EntriesOfAllDirectoriesAreCounted) {
  constexpr uint32_t kEntries = 60'000;
  std::string tiff = std::string("II*\0", 4) + LittleEndian(8, 4);
  for (uint32_t page = 0; page < 4; ++page) {
    const auto next = static_cast<uint32_t>(tiff.size() + 2 + 12 * kEntries + 4);
    tiff += LittleEndian(kEntries, 2) + std::string(12 * kEntries, '\0') +
            LittleEndian(page < 3 ? next : 0, 4);
  }
  EXPECT_THAT(Message(ImageDecoder().ReadHeader(tiff, DecodePolicy::Serving()).status()),
              AllOf(HasSubstr("240000 entries"), HasSubstr("the limit is 200000")));
}

TEST(TiffHeaderTest, ALargeStripOrTileCountsAsHeld) {
  const std::string strip = Make({.extra = {}, .more = {}});
  const auto info = ImageDecoder().ReadHeader(strip, DecodePolicy::Serving());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->decoded_bytes, 2 * 3 * kPixels) << "the picture and its one strip";
  const std::string tiled = TiffOf({{256, {16}},
                                    {257, {16}},
                                    {258, {8}},
                                    {259, {1}},
                                    {262, {1}},
                                    {277, {1}},
                                    {322, {8192}},
                                    {323, {8192}},
                                    {324, {8}},
                                    {325, {64}}},
                                   std::string(64, 'x'));
  const auto refused =
      ImageDecoder({.max_decoded_bytes = 100'000'000}).ReadHeader(tiled, DecodePolicy::Serving());
  EXPECT_THAT(Message(refused.status()), AllOf(HasSubstr("bytes decoded"), HasSubstr("100000000")));
}

}  // namespace
}  // namespace vl2
