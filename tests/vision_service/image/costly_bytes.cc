#include "tests/vision_service/image/costly_bytes.h"

#include <zlib.h>

#include "runtime/base/check.h"
#include "tests/vision_service/image/encoded_bytes.h"

namespace vl2 {

std::string DeflatedZeros(int num_blocks) {
  static const std::string block = [] {
    const std::string zeros(size_t{16} << 20, '\0');
    std::string out(compressBound(zeros.size()), '\0');
    z_stream stream = {};
    VL2_CHECK(deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK) << "zlib";
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(zeros.data()));
    stream.avail_in = static_cast<uInt>(zeros.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    // A full flush ends at a byte and forgets what was before: the block may be repeated.
    deflate(&stream, Z_FULL_FLUSH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
  }();
  std::string result = "\x78\xda";
  for (int i = 0; i < num_blocks; ++i) result += block;
  return result;
}

std::string PngWithTooMuchData(int num_blocks) {
  const std::string header = BigEndian(8) + BigEndian(8) + std::string("\x08\x02\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + PngChunk("IHDR", header) +
         PngChunk("IDAT", DeflatedZeros(num_blocks)) + PngChunk("IEND", "");
}

}  // namespace vl2
