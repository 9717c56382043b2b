// What a picture costs: bytes counted before decoding, work stopped while it runs.
#include <atomic>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "tests/vision_service/image/costly_bytes.h"
#include "tests/vision_service/image/encoded_bytes.h"
#include "tests/vision_service/image/exif_bytes.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image_decoder.h"

namespace vl2 {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace std::string_literals;

const std::string kOdd = VL2_TEST_DATA "/vision_service/image/data/odd/";

std::string Bytes(const std::string& name) { return *ReadFile(kOdd + name, size_t{1} << 20); }

int64_t DecodedBytes(const std::string& bytes,
                     const DecodePolicy& policy = DecodePolicy::Serving()) {
  const auto info = ImageDecoder().ReadHeader(bytes, policy);
  EXPECT_TRUE(info.ok()) << info.status();
  return info.ok() ? info->decoded_bytes : -1;
}

TEST(DecodeLimitsTest, DecodedBytesAreWidthHeightBandsAndSamples) {
  constexpr int64_t area = 37 * 23;
  EXPECT_EQ(DecodedBytes(Bytes("rgb8.png")), area * 3);
  EXPECT_EQ(DecodedBytes(Bytes("rgba8.png")), area * 4);
  EXPECT_EQ(DecodedBytes(Bytes("rgb16.png")), area * 6);
  EXPECT_EQ(DecodedBytes(Bytes("rgba16.png")), area * 8);
  EXPECT_EQ(DecodedBytes(Bytes("gray8.png")), area * 3) << "held as RGB";
  EXPECT_EQ(DecodedBytes(Bytes("palette8.png")), area * 3);
  EXPECT_EQ(DecodedBytes(Bytes("rgb444.jpg")), area * 3);
  EXPECT_EQ(DecodedBytes(Bytes("cmyk.jpg")), area * 4);
  EXPECT_EQ(DecodedBytes(Bytes("plain.gif")), area * 3);
  // Frames that a decoder holds beside the picture.
  EXPECT_EQ(DecodedBytes(Bytes("progressive.jpg")), area * 3 + 2 * (48 * 32 * 3 / 2))
      << "coefficients, in whole blocks, chroma halved in both directions";
  EXPECT_EQ(DecodedBytes(Bytes("lossy.webp")), area * 3);
  EXPECT_EQ(DecodedBytes(Bytes("lossless.webp")), area * (3 + 4));
  EXPECT_EQ(DecodedBytes(Bytes("lossy_alpha.webp")), area * (3 + 4 + 1));
  EXPECT_EQ(DecodedBytes(Bytes("lossy_alpha.webp"), DecodePolicy::Published()), area * 3);
  EXPECT_EQ(DecodedBytes(Bytes("lossless_alpha.webp")), area * (3 + 4 + 4));
  EXPECT_EQ(DecodedBytes(Bytes("orientation6.webp")), area * (3 + 3));
}

TEST(DecodeLimitsTest, TheLimitIsNamedBeforeAnyPixel) {
  const ImageDecoder decoder({.max_decoded_bytes = 37 * 23 * 8 - 1});
  for (const DecodePolicy& policy : {DecodePolicy::Serving(), DecodePolicy::Published()}) {
    for (const auto& status : {decoder.ReadHeader(Bytes("rgba16.png"), policy).status(),
                               decoder.Decode(Bytes("rgba16.png"), policy).status()}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(Message(status), AllOf(HasSubstr("6808 bytes decoded"), HasSubstr("6807")));
    }
  }
  EXPECT_TRUE(ImageDecoder({.max_decoded_bytes = 37 * 23 * 8})
                  .Decode(Bytes("rgba16.png"), DecodePolicy::Serving())
                  .ok());
  // By the default: 8192 x 8192 pixels of RGBA fit, of 16 bits they do not.
  const auto of_zeros = [](int color_type, int depth) {
    return ImageDecoder()
        .ReadHeader(PngOf({8192, 8192}, color_type, depth, "x"), DecodePolicy::Serving())
        .status();
  };
  EXPECT_TRUE(of_zeros(6, 8).ok()) << of_zeros(6, 8);
  EXPECT_THAT(Message(of_zeros(6, 16)), HasSubstr("536870912 bytes decoded"));
  EXPECT_FALSE(ImageLimits{.max_decoded_bytes = 0}.Validate().ok());
}

TEST(DecodeLimitsTest, CompressedTextNeverReachesTheDecoder) {
  const std::string plain = Bytes("rgb8.png");
  const std::string zeros = DeflatedZeros(4);
  const auto expected = ImageDecoder().Decode(plain, DecodePolicy::Serving());
  // 64 chunks of 64 MiB each: reading one of them would take longer than the meter allows.
  for (const auto& [kind, head] : std::vector<std::pair<std::string, std::string>>{
           {"zTXt", "a\0\0"s}, {"iTXt", "a\0\1\0\0\0"s}, {"iCCP", "a\0\0"s}, {"prIv", ""}}) {
    for (const std::string before : {"IDAT", "IEND"}) {
      std::string bytes = plain;
      for (int i = 0; i < 64; ++i) bytes = PngWithChunk(bytes, kind, head + zeros, before);
      DecodeMeter meter(2000, nullptr);
      const auto image = ImageDecoder().Decode(bytes, DecodePolicy::Serving(), meter);
      ASSERT_TRUE(image.ok()) << kind << ": " << image.status();
      EXPECT_TRUE(std::equal(image->data(), image->data() + image->num_bytes(), expected->data()));
    }
  }
}

TEST(DecodeLimitsTest, WorkBeyondTheLimitEnds) {
  const std::string endless = PngWithTooMuchData(200);
  DecodeMeter meter(20, nullptr);
  const auto image = ImageDecoder().Decode(endless, DecodePolicy::Serving(), meter);
  EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(image.status()),
              AllOf(HasSubstr("ms of processor time"), HasSubstr("the limit is 20 ms")));
}

TEST(DecodeLimitsTest, WorkEndsWhenNobodyWaits) {
  for (const std::string name :
       {"rgb8.png", "gray8_adam7.png", "rgb444.jpg", "lossy.webp", "plain.gif", "rgb.tif"}) {
    std::atomic<bool> abandoned = true;
    DecodeMeter meter(0, &abandoned);
    const auto image = ImageDecoder().Decode(Bytes(name), DecodePolicy::Serving(), meter);
    EXPECT_EQ(image.status().code(), absl::StatusCode::kCancelled) << name << image.status();
  }
  // In the middle as well.
  std::atomic<bool> abandoned = false;
  const std::string endless = PngWithTooMuchData(200);
  std::thread leaver([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    abandoned = true;
  });
  DecodeMeter meter(0, &abandoned);
  const auto image = ImageDecoder().Decode(endless, DecodePolicy::Serving(), meter);
  leaver.join();
  EXPECT_EQ(image.status().code(), absl::StatusCode::kCancelled) << image.status();
}

TEST(DecodeLimitsTest, APaletteIndexBeyondThePaletteIsAGreyLevel) {
  const std::string palette = PngChunk("PLTE", "\x0a\x14\x1e\x28\x32\x3c");
  const std::string alphas = PngChunk("tRNS", std::string("\x80", 1));
  const std::string rows("\0\x00\x01\x02\x64\xff", 6);
  for (const bool with_alphas : {false, true}) {
    const std::string bytes = PngOf({5, 1}, 3, 8, rows, with_alphas ? palette + alphas : palette);
    const auto published = ImageDecoder().Decode(bytes, DecodePolicy::Published());
    ASSERT_TRUE(published.ok()) << published.status();
    const std::vector<uint8_t> expected = {10, 20,  30,  40,  50,  60,  2,  2,
                                           2,  100, 100, 100, 255, 255, 255};
    EXPECT_EQ(std::vector<uint8_t>(published->data(), published->data() + 15), expected);
    const auto serving = ImageDecoder().Decode(bytes, DecodePolicy::Serving());
    ASSERT_TRUE(serving.ok()) << serving.status();
    EXPECT_EQ(serving->data()[0], with_alphas ? 132 : 10);
    EXPECT_EQ(serving->data()[6], 2);
  }
}

}  // namespace
}  // namespace vl2
