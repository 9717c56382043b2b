#include "vision_service/image/image_decoder.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/sha256.h"
#include "runtime/base/status.h"
#include "tests/vision_service/image/csv.h"
#include "tests/vision_service/image/encoded_bytes.h"

namespace vl2 {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kOdd = VL2_TEST_DATA "/vision_service/image/data/odd/";
const std::string kJpeg = VL2_TEST_DATA "/golden/data/jpeg/";

std::string Bytes(const std::string& path) {
  auto bytes = ReadFile(path, size_t{1} << 24);
  VL2_CHECK(bytes.ok()) << bytes.status();
  return *std::move(bytes);
}

std::string Hash(const Image& image) { return Sha256Hex(image.data(), image.num_bytes()); }

TEST(ImageDecoderTest, PublishedPolicyIsPillowsConvert) {
  const ImageDecoder decoder;
  const auto rows = ReadCsv(kOdd + "expected.csv");
  ASSERT_GT(rows.size(), 60u);
  for (const auto& row : rows) {
    SCOPED_TRACE(row[0]);
    const std::string bytes = Bytes(kOdd + row[0]);
    const auto image = decoder.Decode(bytes, DecodePolicy::Published());
    if (row[1] == "0") {  // Pillow refuses it too
      EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->size(), (Size{std::stoi(row[1]), std::stoi(row[2])}));
    EXPECT_EQ(Hash(*image), row[3]);
    const auto info = decoder.ReadHeader(bytes, DecodePolicy::Published());
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->size, image->size());
  }
}

TEST(ImageDecoderTest, JpegIsBitEqualToTheReference) {
  const ImageDecoder decoder;
  for (const std::string name : {"baseline420", "progressive420", "gray"}) {
    const auto image = decoder.Decode(Bytes(kJpeg + name + ".jpg"), DecodePolicy::Published());
    const auto expected =
        decoder.Decode(Bytes(kJpeg + name + "_decoded.png"), DecodePolicy::Published());
    ASSERT_TRUE(image.ok() && expected.ok()) << image.status() << expected.status();
    ASSERT_EQ(image->size(), expected->size());
    EXPECT_EQ(Hash(*image), Hash(*expected)) << name;
  }
}

TEST(ImageDecoderTest, HeaderTellsWhatIsStored) {
  const ImageDecoder decoder;
  const auto info = [&](const std::string& name) {
    const auto read = decoder.ReadHeader(Bytes(kOdd + name), DecodePolicy::Serving());
    VL2_CHECK(read.ok()) << name << ": " << read.status();
    return *read;
  };
  EXPECT_EQ(info("rgba16.png").format, ImageFormat::kPng);
  EXPECT_TRUE(info("rgba16.png").has_alpha);
  EXPECT_EQ(info("rgba16.png").num_bands, 4);
  EXPECT_FALSE(info("rgb8.png").has_alpha);
  EXPECT_TRUE(info("palette8_trns.png").has_alpha);
  EXPECT_EQ(info("cmyk.jpg").num_bands, 4);
  EXPECT_FALSE(info("cmyk.jpg").has_alpha);
  EXPECT_EQ(info("animated.gif").num_frames, 2);
  EXPECT_EQ(info("animated.webp").num_frames, 3);
  EXPECT_EQ(info("two_pages.tif").num_frames, 2);
  EXPECT_TRUE(info("transparent.gif").has_alpha);
  EXPECT_FALSE(info("plain.gif").has_alpha);
}

// orientationN.jpg hold the same stored pixels. Turned upright by hand here, by the tag's
// definition.
TEST(ImageDecoderTest, ServingPolicyTurnsUpright) {
  const ImageDecoder decoder;
  for (int orientation = 1; orientation <= 8; ++orientation) {
    SCOPED_TRACE(orientation);
    const std::string bytes = Bytes(Cat(kOdd, "orientation", orientation, ".jpg"));
    const auto info = decoder.ReadHeader(bytes, DecodePolicy::Serving());
    const auto stored = decoder.Decode(bytes, DecodePolicy::Published());
    const auto upright = decoder.Decode(bytes, DecodePolicy::Serving());
    ASSERT_TRUE(info.ok() && stored.ok() && upright.ok());
    EXPECT_EQ(info->orientation, orientation);
    EXPECT_EQ(info->size, upright->size());
    const int w = stored->width(), h = stored->height();
    ASSERT_EQ(upright->size(), orientation < 5 ? (Size{w, h}) : (Size{h, w}));
    for (int y = 0; y < upright->height(); ++y) {
      for (int x = 0; x < upright->width(); ++x) {
        // What the tag says of the stored row 0 and column 0: top-left, top-right, bottom-right,
        // bottom-left, left-top, right-top, right-bottom, left-bottom.
        const int from[9][2] = {
            {},     {x, y},         {w - 1 - x, y},         {w - 1 - x, h - 1 - y}, {x, h - 1 - y},
            {y, x}, {y, h - 1 - x}, {w - 1 - y, h - 1 - x}, {w - 1 - y, x}};
        const uint8_t* expected = stored->row(from[orientation][1]) + 3 * from[orientation][0];
        ASSERT_TRUE(std::equal(expected, expected + 3, upright->row(y) + 3 * x)) << x << "," << y;
      }
    }
  }
  EXPECT_EQ(decoder.ReadHeader(Bytes(kOdd + "orientation6.webp"), DecodePolicy::Serving())->size,
            (Size{23, 37}));
}

TEST(ImageDecoderTest, ServingPolicyFlattensOnWhite) {
  const ImageDecoder decoder;
  for (const std::string name : {"rgba8.png", "gray_alpha8.png", "lossless_alpha.webp", "rgba.tif",
                                 "palette8_trns.png", "transparent.gif", "rgba16.png"}) {
    const std::string bytes = Bytes(kOdd + name);
    const auto dropped = decoder.Decode(bytes, DecodePolicy::Published());
    const auto flat = decoder.Decode(bytes, DecodePolicy::Serving());
    ASSERT_TRUE(dropped.ok() && flat.ok()) << name;
    int changed = 0;
    for (size_t i = 0; i < flat->num_bytes(); ++i) {
      ASSERT_GE(flat->data()[i], dropped->data()[i]) << name;  // white only brightens
      changed += flat->data()[i] != dropped->data()[i];
    }
    EXPECT_GT(changed, 20) << name;
  }
  // A pixel of colour c and alpha a is c·a + 255·(1 − a).
  const std::string one = PngOf({1, 1}, 6, 8, std::string("\0\x64\xc8\x00\x40", 5));
  const auto flat = decoder.Decode(one, DecodePolicy::Serving());
  ASSERT_TRUE(flat.ok()) << flat.status();
  for (int c = 0; c < 3; ++c) {
    const double color = static_cast<uint8_t>("\x64\xc8\x00"[c]);
    EXPECT_NEAR(flat->data()[c], color * 64 / 255 + 255 * (1 - 64 / 255.0), 0.5001);
  }
}

TEST(ImageDecoderTest, Gray16IsScaledOnlyWhenServing) {
  const ImageDecoder decoder;
  const std::string bytes = PngOf({2, 1}, 0, 16, std::string("\0\x12\x34\x00\x56", 5));
  const auto serving = decoder.Decode(bytes, DecodePolicy::Serving());
  const auto published = decoder.Decode(bytes, DecodePolicy::Published());
  ASSERT_TRUE(serving.ok() && published.ok());
  EXPECT_EQ(serving->data()[0], 0x12);
  EXPECT_EQ(serving->data()[3], 0x00);
  EXPECT_EQ(published->data()[0], 0xff);
  EXPECT_EQ(published->data()[3], 0x56);
}

// Every prefix of every kind of file is refused or, where only trailing bytes are missing, gives
// the whole picture. Nothing in between, and no crash.
TEST(ImageDecoderTest, TruncatedFilesAreErrors) {
  const ImageDecoder decoder;
  for (const std::string name :
       {"rgb8.png", "palette8.png", "gray16.png", "rgb420.jpg", "progressive.jpg", "cmyk.jpg",
        "lossy.webp", "lossless_alpha.webp", "pillow.gif", "interlaced.gif", "rgb.tif",
        "rgb_lzw.tif", "bilevel_group4.tif", "animated.webp"}) {
    SCOPED_TRACE(name);
    const std::string bytes = Bytes(kOdd + name);
    const std::string whole = Hash(*decoder.Decode(bytes, DecodePolicy::Serving()));
    int refused = 0;
    const size_t step = std::max<size_t>(1, bytes.size() / 150);
    for (size_t size = 0; size < bytes.size(); size += step) {
      // A copy of that size, so that a read behind the end is one behind the allocation.
      const std::string cut = bytes.substr(0, size);
      const auto image = decoder.Decode(cut, DecodePolicy::Serving());
      if (image.ok()) {
        EXPECT_EQ(Hash(*image), whole) << size << " of " << bytes.size() << " bytes";
        continue;
      }
      ++refused;
      EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_FALSE(image.status().message().empty());
    }
    EXPECT_GT(refused, 50);
    const auto half = decoder.Decode(bytes.substr(0, bytes.size() / 2), DecodePolicy::Serving());
    EXPECT_THAT(Message(half.status()), AnyOf(HasSubstr("truncated"), HasSubstr("corrupt")));
  }
}

TEST(ImageDecoderTest, FlippedBytesNeverCrash) {
  const ImageDecoder decoder(ImageLimits{.max_pixels = 1 << 20});
  const auto rows = ReadCsv(kOdd + "expected.csv");
  uint32_t state = 1;
  int decoded = 0, refused = 0;
  for (const auto& row : rows) {
    const std::string bytes = Bytes(kOdd + row[0]);
    for (int round = 0; round < 20; ++round) {
      std::string changed = bytes;
      for (int flip = 0; flip <= round % 4; ++flip) {
        state = state * 1664525u + 1013904223u;
        changed[(state >> 8) % changed.size()] = static_cast<char>(state >> 3);
      }
      const auto image = decoder.Decode(changed, DecodePolicy::Serving());
      (image.ok() ? decoded : refused)++;
    }
  }
  EXPECT_GT(decoded, 50);
  EXPECT_GT(refused, 50);
}

TEST(ImageDecoderTest, ThreadsDecodeSideBySide) {
  const ImageDecoder decoder;
  std::vector<std::string> files, hashes;
  for (const std::string name : {"rgb420.jpg", "palette8_trns.png", "lossy.webp", "rgb_lzw.tif"}) {
    files.push_back(Bytes(kOdd + name));
    hashes.push_back(Hash(*decoder.Decode(files.back(), DecodePolicy::Serving())));
  }
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t round = 0; round < 40; ++round) {
        const std::string& bytes = files[(t + round) % files.size()];
        const auto image = decoder.Decode(bytes, DecodePolicy::Serving());
        if (!image.ok() || Hash(*image) != hashes[(t + round) % files.size()]) ++wrong;
        // Failures beside them disturb nothing.
        if (decoder.Decode(bytes.substr(0, 300), DecodePolicy::Serving()).ok()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ImageDecoderTest, LimitsAreCheckedOnTheHeaderAndNamed) {
  const auto message = [](const std::string& bytes, const ImageLimits& limits = {}) {
    const auto info = ImageDecoder(limits).ReadHeader(bytes, DecodePolicy::Serving());
    const auto image = ImageDecoder(limits).Decode(bytes, DecodePolicy::Serving());
    EXPECT_EQ(info.status(), image.status());
    EXPECT_EQ(info.status().code(), absl::StatusCode::kInvalidArgument);
    return Message(info.status());
  };
  EXPECT_THAT(message(""), HasSubstr("0 bytes"));
  EXPECT_THAT(message("this is no picture"), HasSubstr("18 bytes"));
  EXPECT_THAT(message(std::string(101, 'x'), {.max_bytes = 100}),
              AllOf(HasSubstr("101 bytes"), HasSubstr("limit is 100")));
  EXPECT_THAT(message(PngOf({60000, 60000}, 2, 8, "")),
              AllOf(HasSubstr("60000 x 60000 = 3600000000 pixels"), HasSubstr("67108864")));
  EXPECT_THAT(message(PngOf({100000, 1}, 2, 8, "")),
              AllOf(HasSubstr("100000 x 1"), HasSubstr("65535")));
  const std::string rgb = Bytes(kOdd + "rgb8.png");
  EXPECT_THAT(message(rgb, {.max_pixels = 850}), HasSubstr("37 x 23 = 851 pixels"));
  EXPECT_THAT(message(rgb, {.max_side = 36}), HasSubstr("limit is 36"));
  EXPECT_TRUE(
      ImageDecoder({.max_pixels = 851, .max_side = 37}).Decode(rgb, DecodePolicy::Serving()).ok());
  for (const std::string name : {"animated.gif", "animated.webp", "two_pages.tif"}) {
    EXPECT_THAT(message(Bytes(kOdd + name), {.max_frames = 1}),
                AllOf(HasSubstr("frames"), HasSubstr("limit is 1")));
  }
  EXPECT_THAT(message(GifOfFrames(2000)),
              AllOf(HasSubstr("GIF of at least 1001 frames"), HasSubstr("limit is 1000")));
  EXPECT_THAT(message(TiffOfPages(70000)), AllOf(HasSubstr("TIFF of at least 1001 frames")));
  EXPECT_THAT(message(TiffInACircle()), HasSubstr("TIFF of at least 1001 frames"));
  EXPECT_THAT(message(TiffWithTiles({1 << 20, 1 << 20})),
              AllOf(HasSubstr("TIFF tiles of 1048576 x 1048576"), HasSubstr("67108864")));
  EXPECT_THAT(message(TiffWithTiles({64, 64})), Not(HasSubstr("TIFF tiles")));
  EXPECT_THAT(message(JpegOfScans(Bytes(kOdd + "progressive.jpg"), 300)), HasSubstr("scans"));
}

TEST(ImageDecoderTest, RefusedFormatsAreNamed) {
  const ImageDecoder decoder;
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "SVG"},
      {"<?xml version='1.0'?><svg/>", "SVG"},
      {"%PDF-1.7\n", "PDF"},
      {"BM\x3a\0\0\0\0\0\0\0"s, "BMP"},
      {"\0\0\0\x1c"
       "ftypheic"s,
       "HEIF"},
      {"\0\0\0\x1c"
       "ftypavif"s,
       "AVIF"},
      {"\0\0\x01\0\x01\0"s, "ICO"},
      {"8BPS\0\x01"s, "Photoshop"},
      {"\xff\x0a\0\0"s, "JPEG XL"},
      {"\0\0\0\x0cjP  \r\n\x87\n"s, "JPEG 2000"},
      {"P6\n1 1\n255\nabc", "not recognised"},
      {"id=MagickCore", "not recognised"},
      {"GIF88a", "not recognised"},
  };
  for (const auto& [bytes, name] : refused) {
    const auto image = decoder.Decode(bytes, DecodePolicy::Serving());
    EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(image.status()), AllOf(HasSubstr(name), HasSubstr("accepted are JPEG")));
  }
}

TEST(ImageDecoderTest, HeadersAloneAreRefusedWhenDecoded) {
  const ImageDecoder decoder;
  EXPECT_FALSE(decoder.Decode(PngOf({10, 10}, 2, 8, ""), DecodePolicy::Serving()).ok());
  for (const std::string bytes :
       {"\xff\xd8\xff", "\x89PNG\r\n\x1a\n", "GIF89a", "MM\0*", "RIFF\x10\0\0\0WEBP"}) {
    EXPECT_FALSE(decoder.ReadHeader(bytes, DecodePolicy::Serving()).ok());
    EXPECT_FALSE(decoder.Decode(bytes, DecodePolicy::Serving()).ok());
  }
}

TEST(ImageLimitsTest, Validate) {
  EXPECT_TRUE(ImageLimits{}.Validate().ok());
  EXPECT_THAT(Message(ImageLimits{.max_bytes = 0}.Validate()), HasSubstr("max_bytes = 0"));
  EXPECT_THAT(Message(ImageLimits{.max_pixels = -1}.Validate()), HasSubstr("max_pixels = -1"));
  EXPECT_THAT(Message(ImageLimits{.max_side = 1 << 30}.Validate()), HasSubstr("max_side"));
  EXPECT_THAT(Message(ImageLimits{.max_frames = 0}.Validate()), HasSubstr("max_frames = 0"));
}

}  // namespace
}  // namespace vl2
