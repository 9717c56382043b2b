// ImageDecoder: encoded image bytes to upright RGB pixels, limits first.
//
// Pixels are those of convert("RGB") in Pillow 9.4, which the published processor uses: colour
// profiles are ignored, CMYK is converted naively, only the first frame or page counts. Exact for
// everything in tests/vision_service/image/data; where serving differs on purpose: DecodePolicy.
//
// Threading: thread-safe, immutable; any number of threads may decode at once.
// Errors: INVALID_ARGUMENT for anything wrong with the bytes, naming the value and the limit. A
//   file that is cut off is an error, never a picture with a grey lower half.
// Limits: ImageLimits, checked on the header before any pixel is decoded, and the meter's. No
//   temporary files. Peak memory is ImageInfo::decoded_bytes and a few strips at most.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image.h"
#include "vision_service/image/image_format.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

struct ImageLimits {
  // Of the encoded file.
  size_t max_bytes = size_t{20} << 20;
  // Width · height. 2^26 holds the pictures of 64-megapixel cameras in 192 MiB; Pillow, for
  // comparison, warns from 2^26.4.
  int64_t max_pixels = int64_t{1} << 26;
  // Width and height each, in pixels: what a JPEG header can say.
  int max_side = 65535;
  // Frames or pages, though only the first is decoded. A longer file is no picture.
  int max_frames = 1000;
  // ImageInfo::decoded_bytes: what a few bytes of file may ask for. 2^26 pixels of RGB or RGBA fit,
  // half as many of 16 bits.
  int64_t max_decoded_bytes = int64_t{256} << 20;

  absl::Status Validate() const;
};

// What happens to what a plain RGB picture does not have.
struct DecodePolicy {
  enum class Orientation {
    kApply,     // turned upright as the tag says
    kAsPillow,  // the tag is ignored, except in TIFF, where Pillow's decoder applies it
  };
  enum class Alpha {
    kFlattenOnWhite,
    kDrop,  // transparent pixels show the colour stored under them
  };
  enum class Gray16 {
    kUpperByte,
    kClip,  // values above 255 are white, which is what Pillow makes of 16-bit grey PNG and TIFF
  };
  Orientation orientation = Orientation::kApply;
  Alpha alpha = Alpha::kFlattenOnWhite;
  Gray16 gray16 = Gray16::kUpperByte;

  static DecodePolicy Serving() { return {}; }
  // Exactly what the published processor does.
  static DecodePolicy Published() { return {Orientation::kAsPillow, Alpha::kDrop, Gray16::kClip}; }
  friend bool operator==(const DecodePolicy&, const DecodePolicy&) = default;
};

struct ImageInfo {
  ImageFormat format = ImageFormat::kJpeg;
  Size size;            // pixels, upright under the policy: what Decode will return
  int num_bands = 0;    // stored channels, alpha included; a palette counts as its colours
  int num_frames = 1;   // frames or pages
  int orientation = 1;  // the Exif tag, 1..8; 1 when there is none
  bool has_alpha = false;
  // The size cannot change any more when more bytes come. A PNG's tag may stand behind its pixels.
  bool size_is_final = true;
  // width · height · bands · bytes of a sample, or what is held while decoding if that is more: the
  // RGB picture, and beside it the coefficients of a progressive JPEG, strips or tiles of a TIFF,
  // all of a WebP that is lossless, turned or blended.
  int64_t decoded_bytes = 0;
};

class ImageDecoder {
 public:
  // REQUIRES: limits.Validate().ok().
  explicit ImageDecoder(const ImageLimits& limits = {}) : limits_(limits) {}

  const ImageLimits& limits() const { return limits_; }

  // Reads the header and checks all limits; decodes no pixels. The bytes may end anywhere behind
  // the header for JPEG, PNG and GIF.
  absl::StatusOr<ImageInfo> ReadHeader(std::string_view bytes, const DecodePolicy& policy) const;

  // The picture; its size is ReadHeader's for the whole file. CANCELLED when the meter says so.
  absl::StatusOr<Image> Decode(std::string_view bytes, const DecodePolicy& policy,
                               DecodeMeter& meter) const;
  // Without a limit on the work.
  absl::StatusOr<Image> Decode(std::string_view bytes, const DecodePolicy& policy) const;

 private:
  ImageLimits limits_;
};

}  // namespace vl2
