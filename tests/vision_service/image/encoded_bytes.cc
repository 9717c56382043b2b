#include "tests/vision_service/image/encoded_bytes.h"

#include "runtime/base/check.h"

namespace vl2 {
namespace {

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string LittleEndian(uint32_t value, int num_bytes) {
  std::string bytes;
  for (int i = 0; i < num_bytes; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

std::string Chunk(std::string_view kind, std::string_view data) {
  std::string body(kind);
  body += data;
  uint32_t crc = 0xffffffffu;
  for (const char c : body) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return BigEndian(static_cast<uint32_t>(data.size())) + body + BigEndian(~crc);
}

}  // namespace

std::string PngOf(Size size, int color_type, int depth, std::string_view rows) {
  VL2_CHECK(rows.size() < 65536) << rows.size();
  std::string header =
      BigEndian(static_cast<uint32_t>(size.width)) + BigEndian(static_cast<uint32_t>(size.height));
  header += static_cast<char>(depth);
  header += static_cast<char>(color_type);
  header += std::string(3, '\0');
  uint32_t low = 1, high = 0;
  for (const char c : rows) {
    low = (low + static_cast<uint8_t>(c)) % 65521;
    high = (high + low) % 65521;
  }
  const auto length = static_cast<uint32_t>(rows.size());
  std::string stream = "\x78\x01\x01" + LittleEndian(length, 2) + LittleEndian(~length, 2);
  stream += rows;
  stream += BigEndian(high << 16 | low);
  std::string png = "\x89PNG\r\n\x1a\n" + Chunk("IHDR", header);
  if (!rows.empty()) png += Chunk("IDAT", stream) + Chunk("IEND", "");
  return png;
}

std::string GifOfFrames(int num_frames) {
  std::string gif = "GIF89a" + LittleEndian(1, 2) + LittleEndian(1, 2) + std::string(3, '\0');
  const std::string frame = "\x2c" + std::string(4, '\0') + LittleEndian(1, 2) +
                            LittleEndian(1, 2) + std::string("\0\x02\x02\x44\x01\0", 6);
  for (int i = 0; i < num_frames; ++i) gif += frame;
  return gif + "\x3b";
}

std::string TiffOfPages(int num_pages) {
  std::string tiff = std::string("II*\0", 4) + LittleEndian(8, 4);
  for (int i = 0; i < num_pages; ++i) {
    const auto next = static_cast<uint32_t>(tiff.size() + 6);
    tiff += LittleEndian(0, 2) + LittleEndian(i + 1 < num_pages ? next : 0, 4);
  }
  return tiff;
}

std::string TiffInACircle() {
  return std::string("II*\0", 4) + LittleEndian(8, 4) + LittleEndian(0, 2) + LittleEndian(8, 4);
}

std::string TiffWithTiles(Size tile) {
  constexpr uint32_t kTileWidth = 322, kTileLength = 323, kLong = 4;
  const auto entry = [](uint32_t tag, int value) {
    return LittleEndian(tag, 2) + LittleEndian(kLong, 2) + LittleEndian(1, 4) +
           LittleEndian(static_cast<uint32_t>(value), 4);
  };
  return std::string("II*\0", 4) + LittleEndian(8, 4) + LittleEndian(2, 2) +
         entry(kTileWidth, tile.width) + entry(kTileLength, tile.height) + LittleEndian(0, 4);
}

std::string JpegOfScans(std::string_view jpeg, int num_repeats) {
  const size_t scan = jpeg.rfind("\xff\xda");
  VL2_CHECK(scan != std::string_view::npos && jpeg.size() > scan + 2) << jpeg.size();
  std::string result(jpeg.substr(0, jpeg.size() - 2));
  for (int i = 0; i < num_repeats; ++i) result += jpeg.substr(scan, jpeg.size() - 2 - scan);
  return result + "\xff\xd9";
}

}  // namespace vl2
