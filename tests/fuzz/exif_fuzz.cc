// Any bytes as a block of Exif data and as a JPEG that may carry one: an orientation from 1 to 8,
// and no read outside.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "vision_service/image/exif_orientation.h"
#include "vision_service/image/jpeg_decoder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const int orientation = vl2::ExifOrientation(bytes);
  VL2_CHECK(orientation >= 1 && orientation <= 8) << orientation;
  const std::string_view exif = vl2::FindJpegExif(bytes);
  VL2_CHECK(exif.empty() || (exif.data() >= bytes.data() &&
                             exif.data() + exif.size() <= bytes.data() + bytes.size()))
      << exif.size() << " of " << size;
  const int of_jpeg = vl2::ExifOrientation(exif);
  VL2_CHECK(of_jpeg >= 1 && of_jpeg <= 8) << of_jpeg;
  return 0;
}
