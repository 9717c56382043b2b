#include "tests/vision_service/image/encoded_bytes.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace vl2 {

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

std::string PngChunk(std::string_view kind, std::string_view data) {
  std::string body(kind);
  body += data;
  uint32_t crc = 0xffffffffu;
  for (const char c : body) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return BigEndian(static_cast<uint32_t>(data.size())) + body + BigEndian(~crc);
}

std::string PngOf(Size size, int color_type, int depth, std::string_view rows,
                  std::string_view before_data) {
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
  std::string png = "\x89PNG\r\n\x1a\n" + PngChunk("IHDR", header);
  png += before_data;
  if (!rows.empty()) png += PngChunk("IDAT", stream) + PngChunk("IEND", "");
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

std::string TiffOf(const std::vector<TiffEntry>& entries, std::string_view data, bool big_endian) {
  const auto number = [big_endian](uint32_t value, int num_bytes) {
    std::string bytes = LittleEndian(value, num_bytes);
    if (big_endian) bytes.assign(bytes.rbegin(), bytes.rend());
    return bytes;
  };
  constexpr uint32_t kStripOffsets = 273, kShort = 3, kLong = 4;
  std::vector<TiffEntry> all = entries;
  all.push_back({kStripOffsets, {0}});
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.tag < b.tag; });
  const size_t values_at = 8 + 2 + 12 * all.size() + 4;
  std::string values;
  for (const TiffEntry& entry : all) {
    if (entry.values.size() > 2) values.resize(values.size() + 2 * entry.values.size());
  }
  const auto data_at = static_cast<uint32_t>(values_at + values.size());
  values.clear();
  std::string tiff = number(big_endian ? 0x4d4d002a : 0x002a4949, 4);
  tiff += number(8, 4) + number(static_cast<uint32_t>(all.size()), 2);
  for (const TiffEntry& entry : all) {
    const auto count = static_cast<uint32_t>(entry.values.size());
    std::string packed;
    // One value is a LONG, several are SHORTs.
    if (count == 1) {
      packed = number(entry.tag == kStripOffsets ? data_at : entry.values[0], 4);
    } else {
      for (const uint32_t value : entry.values) packed += number(value, 2);
    }
    tiff += number(entry.tag, 2) + number(count == 1 ? kLong : kShort, 2) + number(count, 4);
    if (packed.size() > 4) {
      tiff += number(static_cast<uint32_t>(values_at + values.size()), 4);
      values += packed;
    } else {
      packed.resize(4);
      tiff += packed;
    }
  }
  return tiff + number(0, 4) + values + std::string(data);
}

std::string JpegOfScans(std::string_view jpeg, int num_repeats) {
  const size_t scan = jpeg.rfind("\xff\xda");
  VL2_CHECK(scan != std::string_view::npos && jpeg.size() > scan + 2) << jpeg.size();
  std::string result(jpeg.substr(0, jpeg.size() - 2));
  for (int i = 0; i < num_repeats; ++i) result += jpeg.substr(scan, jpeg.size() - 2 - scan);
  return result + "\xff\xd9";
}

}  // namespace vl2
