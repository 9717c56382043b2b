#include "vision_service/image/exif_orientation.h"
#include "vision_service/image/jpeg_decoder.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"
#include "tests/vision_service/image/encoded_bytes.h"
#include "tests/vision_service/image/exif_bytes.h"
#include "vision_service/image/image_decoder.h"

namespace vl2 {
namespace {

using namespace std::string_literals;

const std::string kOdd = VL2_TEST_DATA "/vision_service/image/data/odd/";

std::string Bytes(const std::string& name) { return *ReadFile(kOdd + name, size_t{1} << 20); }

// One broken entry each, of the kinds that cameras and editors have written.
const std::vector<std::pair<std::string, ExifEntry>>& BrokenEntries() {
  static const auto* const entries = new std::vector<std::pair<std::string, ExifEntry>>{
      {"type 0", {271, 0, 1, 7}},
      {"type 14", {271, 14, 1, 7}},
      {"type 255", {271, 255, 1, 7}},
      {"type 65535", {271, 0xffff, 1, 7}},
      {"count 0", {271, 2, 0, 8}},
      {"count 0 of type 0", {271, 0, 0, 0}},
      {"huge count", {271, 2, 0xffffffff, 8}},
      {"huge count of 8 bytes", {282, 5, 0xffffffff, 8}},
      {"offset outside", {271, 2, 40, 0x7fffffff}},
      {"offset at the very end of numbers", {271, 2, 40, 0xffffffff}},
      {"tag 0", {0, 0, 0, 0}},
      {"thumbnail's offset", {513, 4, 1, 0xffffffff}},
      {"thumbnail's length", {514, 4, 1, 0xffffffff}},
      {"Exif directory outside", {34665, 4, 1, 0xfffffff0}},
      {"a tag that comes later in order", {40000, 3, 1, 1}},
      {"orientation of count 0", {274, 3, 0, 1}},
      {"orientation of type 0", {274, 0, 1, 1}},
      {"orientation outside", {274, 3, 40, 0x7fffffff}},
  };
  return *entries;
}

TEST(ExifOrientationTest, ABrokenEntryBeforeItHidesNothing) {
  for (const bool big_endian : {false, true}) {
    for (const auto& [name, broken] : BrokenEntries()) {
      for (uint32_t orientation = 1; orientation <= 8; ++orientation) {
        const ExifEntry good = OrientationEntry(orientation);
        EXPECT_EQ(ExifOrientation(ExifOf({broken, good}, big_endian)),
                  static_cast<int>(orientation))
            << name;
        EXPECT_EQ(ExifOrientation(ExifOf({broken, broken, good, broken}, big_endian)),
                  static_cast<int>(orientation))
            << name << ", and behind it";
      }
    }
  }
}

TEST(ExifOrientationTest, WhatCountsAsOrientation) {
  struct Case {
    ExifEntry entry;
    int expected;
  };
  const std::vector<Case> cases = {
      {{274, 3, 1, 6}, 6},  {{274, 4, 1, 6}, 6},           {{274, 9, 1, 6}, 6},
      {{274, 13, 1, 6}, 6}, {{274, 8, 1, 6}, 6},           {{274, 3, 1, 0}, 1},
      {{274, 3, 1, 9}, 1},  {{274, 3, 1, 65535}, 1},       {{274, 1, 1, 6}, 1},
      {{274, 2, 2, 54}, 1}, {{274, 11, 1, 0x40c00000}, 6}, {{274, 7, 1, 6}, 1},
      {{274, 3, 2, 6}, 6}};
  for (const Case& one : cases) {
    EXPECT_EQ(ExifOrientation(ExifOf({one.entry})), one.expected)
        << "type " << one.entry.type << ", value " << one.entry.value;
  }
  EXPECT_EQ(ExifOrientation(ExifOf({OrientationEntry(6), OrientationEntry(3)})), 3)
      << "the last one counts";
  EXPECT_EQ(ExifOrientation(ExifOf({OrientationEntry(6), OrientationEntry(9)})), 1);
}

TEST(ExifOrientationTest, BlocksThatAreCutOffOrNoBlocks) {
  const std::string whole = ExifOf({{271, 2, 40, 9999}, OrientationEntry(8), {305, 2, 4, 0}});
  EXPECT_EQ(ExifOrientation("Exif\0\0"s + whole), 8);
  EXPECT_EQ(ExifOrientation("Exif\0\xff"s + whole), 1);
  for (size_t size = 0; size <= whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    EXPECT_EQ(ExifOrientation(cut), size >= 8 + 2 + 24 ? 8 : 1) << size;
  }
  std::string many = whole;
  many[8] = '\xff';
  many[9] = '\xff';
  EXPECT_EQ(ExifOrientation(many), 8) << "65,535 entries are claimed";
  for (const std::string& magic : {"II\0*"s, "MM\0+"s, "II+\0"s, "XX*\0"s}) {
    EXPECT_EQ(ExifOrientation(magic + whole.substr(4)), magic == "II\0*"s ? 8 : 1);
  }
  for (const uint32_t offset : {0u, 7u, 0x7fffffffu, 0xffffffffu}) {
    EXPECT_EQ(ExifOrientation("II*\0"s + LittleEndian(offset, 4) + std::string(40, '\0')), 1);
  }
}

// The same in the three formats that carry Exif: turned, with the pixels of the plain file.
class ExifFilesTest : public ::testing::Test {
 protected:
  static void ExpectOrientation(const std::string& bytes, int expected, const std::string& what) {
    const ImageDecoder decoder;
    for (const DecodePolicy& policy : {DecodePolicy::Serving(), DecodePolicy::Published()}) {
      const auto info = decoder.ReadHeader(bytes, policy);
      const auto image = decoder.Decode(bytes, policy);
      ASSERT_TRUE(info.ok() && image.ok()) << what << info.status() << image.status();
      EXPECT_EQ(info->orientation, expected) << what;
      EXPECT_EQ(info->size, image->size()) << what;
      const bool turned = policy == DecodePolicy::Serving() && expected >= 5;
      EXPECT_EQ(image->size(), turned ? (Size{23, 37}) : (Size{37, 23})) << what;
    }
  }
};

TEST_F(ExifFilesTest, JpegPngAndWebpAlike) {
  const std::string jpeg = Bytes("rgb444.jpg"), png = Bytes("rgb8.png"), webp = Bytes("lossy.webp");
  for (const bool big_endian : {false, true}) {
    for (const auto& [name, broken] : BrokenEntries()) {
      const std::string exif = ExifOf({broken, OrientationEntry(6)}, big_endian);
      ExpectOrientation(JpegWithSegment(jpeg, 0xe1, "Exif\0\0"s + exif), 6, "JPEG, " + name);
      ExpectOrientation(WebpWithExif(webp, {37, 23}, exif), 6, "WebP, " + name);
      ExpectOrientation(WebpWithExif(webp, {37, 23}, "Exif\0\0"s + exif), 6, "WebP, " + name);
      for (const std::string before : {"IDAT", "IEND"}) {
        ExpectOrientation(PngWithChunk(png, "eXIf", exif, before), 6, "PNG, " + name);
      }
    }
  }
}

TEST_F(ExifFilesTest, PngWhereverItStands) {
  const std::string exif = ExifOf({OrientationEntry(8)});
  const std::string text = "Comment\0"s + std::string(5000, 'x');
  for (const std::string name : {"rgb8.png", "palette8.png", "gray16.png", "gray8_adam7.png"}) {
    const std::string plain = Bytes(name);
    const auto size = ImageDecoder().ReadHeader(plain, DecodePolicy::Serving())->size;
    ASSERT_EQ(size, (Size{37, 23}));
    ExpectOrientation(PngWithChunk(plain, "eXIf", exif, "IDAT"), 8, name);
    const std::string last = PngWithChunk(plain, "eXIf", exif, "IEND");
    ExpectOrientation(last, 8, name);
    ExpectOrientation(PngWithChunk(last, "tEXt", text, "IDAT"), 8, name);
    ExpectOrientation(PngWithChunk(last, "tEXt", text, "eXIf"), 8, name);
    ExpectOrientation(PngWithChunk(plain, "eXIf", exif, ""), 1, "behind the end");
    std::string broken = last;
    broken[broken.find("eXIf") + 14] ^= 1;
    ExpectOrientation(broken, 1, "a wrong checksum");
  }
}

TEST_F(ExifFilesTest, ThePngSizeIsFinalWhenNoTagCanFollow) {
  const std::string exif = ExifOf({OrientationEntry(6)});
  const std::string png = PngWithChunk(Bytes("rgb8.png"), "eXIf", exif, "IEND");
  const size_t data_end = png.find("eXIf") - 4;
  const ImageDecoder decoder;
  const auto early = decoder.ReadHeader(png.substr(0, data_end), DecodePolicy::Serving());
  ASSERT_TRUE(early.ok()) << early.status();
  EXPECT_EQ(early->size, (Size{37, 23}));
  EXPECT_FALSE(early->size_is_final);
  EXPECT_TRUE(
      decoder.ReadHeader(png.substr(0, data_end), DecodePolicy::Published())->size_is_final);
  const auto whole = decoder.ReadHeader(png, DecodePolicy::Serving());
  EXPECT_EQ(whole->size, (Size{23, 37}));
  EXPECT_TRUE(whole->size_is_final);
}

TEST_F(ExifFilesTest, AWebpsAlphaIsThereWithoutItsFlag) {
  const std::string plain = Bytes("lossless_alpha.webp");
  const std::string extended = WebpWithExif(plain, {37, 23}, ExifOf({OrientationEntry(1)}));
  for (const DecodePolicy& policy : {DecodePolicy::Serving(), DecodePolicy::Published()}) {
    const auto expected = ImageDecoder().Decode(plain, policy);
    const auto image = ImageDecoder().Decode(extended, policy);
    ASSERT_TRUE(expected.ok() && image.ok()) << expected.status() << image.status();
    EXPECT_TRUE(std::equal(image->data(), image->data() + image->num_bytes(), expected->data()));
  }
}

TEST_F(ExifFilesTest, TheFirstExifSegmentOfAJpegCounts) {
  const std::string jpeg = Bytes("rgb444.jpg");
  const auto segment = [](uint32_t orientation) {
    return "Exif\0\0"s + ExifOf({OrientationEntry(orientation)});
  };
  const std::string second = JpegWithSegment(jpeg, 0xe1, segment(3));
  ExpectOrientation(JpegWithSegment(second, 0xe1, segment(6)), 6, "two Exif segments");
  ExpectOrientation(JpegWithSegment(second, 0xe1, "http://ns.adobe.com/xap/1.0/\0<x/>"s), 3,
                    "behind XMP");
  ExpectOrientation(JpegWithSegment(second, 0xee, "not Adobe"), 3, "behind APP14");
  ExpectOrientation(JpegWithSegment(jpeg, 0xe2, segment(6)), 1, "not in APP1");
  EXPECT_EQ(FindJpegExif(second.substr(0, 4)), "");
  EXPECT_EQ(FindJpegExif(""), "");
}

}  // namespace
}  // namespace vl2
