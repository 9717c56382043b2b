#include "tests/vision_service/image/exif_bytes.h"

#include "runtime/base/check.h"
#include "tests/vision_service/image/encoded_bytes.h"

namespace vl2 {
namespace {

std::string Number(uint32_t value, int num_bytes, bool big_endian) {
  std::string bytes = LittleEndian(value, num_bytes);
  if (big_endian) bytes.assign(bytes.rbegin(), bytes.rend());
  return bytes;
}

}  // namespace

std::string ExifOf(const std::vector<ExifEntry>& entries, bool big_endian) {
  using namespace std::string_literals;
  std::string block = big_endian ? "MM\0*"s : "II*\0"s;
  block += Number(8, 4, big_endian);
  block += Number(static_cast<uint32_t>(entries.size()), 2, big_endian);
  for (const ExifEntry& entry : entries) {
    block += Number(entry.tag, 2, big_endian) + Number(entry.type, 2, big_endian) +
             Number(entry.count, 4, big_endian);
    const bool is_short = (entry.type == 3 || entry.type == 8) && entry.count == 1;
    block += is_short ? Number(entry.value, 2, big_endian) + std::string(2, '\0')
                      : Number(entry.value, 4, big_endian);
  }
  return block + Number(0, 4, big_endian);
}

std::string JpegWithSegment(std::string_view jpeg, uint8_t marker, std::string_view payload) {
  std::string length = LittleEndian(static_cast<uint32_t>(payload.size() + 2), 2);
  length = {length[1], length[0]};
  std::string result(jpeg.substr(0, 2));
  result += '\xff';
  result += static_cast<char>(marker);
  return result.append(length).append(payload).append(jpeg.substr(2));
}

std::string PngWithChunk(std::string_view png, std::string_view kind, std::string_view data,
                         std::string_view before) {
  size_t at = png.size();
  if (!before.empty()) {
    const size_t found = png.find(before);
    VL2_CHECK(found != std::string_view::npos) << before;
    at = found - 4;
  }
  return std::string(png.substr(0, at)) + PngChunk(kind, data) + std::string(png.substr(at));
}

std::string WebpWithExif(std::string_view webp, Size size, std::string_view exif) {
  constexpr char kExifFlag = 8;
  const auto chunk = [](std::string_view kind, std::string_view data) {
    std::string bytes(kind);
    bytes += LittleEndian(static_cast<uint32_t>(data.size()), 4);
    bytes += data;
    return bytes + std::string(data.size() % 2, '\0');
  };
  const std::string extended = std::string(1, kExifFlag) + std::string(3, '\0') +
                               LittleEndian(static_cast<uint32_t>(size.width - 1), 3) +
                               LittleEndian(static_cast<uint32_t>(size.height - 1), 3);
  const std::string body =
      "WEBP" + chunk("VP8X", extended) + std::string(webp.substr(12)) + chunk("EXIF", exif);
  return "RIFF" + LittleEndian(static_cast<uint32_t>(body.size()), 4) + body;
}

}  // namespace vl2
