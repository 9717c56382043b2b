// JPEG and TIFF through libvips, strip by strip by the calling thread.
//
// Threading: free functions, thread-safe.
// Errors: INVALID_ARGUMENT saying what is cut off, corrupt or not accepted; the meter's, asked
// every
//   few rows. A file whose strips or scans are large is asked for less often: its memory is counted
//   by HeldBytes, and its scans have a limit of their own.
// Limits: ImageLimits' are the caller's; a JPEG's scans are checked here.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image.h"
#include "vision_service/image/image_format.h"
#include "vision_service/image/pixel_rows.h"
#include "vision_service/image/tiff_header.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

// A file that libvips has opened: header read, pixels not.
// Owns: libvips' image. Borrows the file's bytes. Threading: one thread at a time.
class VipsFile {
 public:
  // `format`: JPEG or TIFF; `tiff` is the header of the latter.
  static absl::StatusOr<VipsFile> Open(std::string_view bytes, ImageFormat format,
                                       const TiffHeader& tiff);
  VipsFile(VipsFile&&) noexcept;
  VipsFile& operator=(VipsFile&&) noexcept;
  ~VipsFile();

  Size size() const;  // as stored
  int num_frames() const;
  int tiff_orientation() const;                               // 1..8
  bool white_is_zero() const { return tiff_.white_is_zero; }  // of a grey TIFF
  const PixelLayout& layout() const { return layout_; }
  PixelLayout& layout() { return layout_; }
  // Of whole coefficients, strips or tiles, beside the picture.
  int64_t HeldBytes() const;

  // INVALID_ARGUMENT when the samples are of a type or number that is not accepted.
  absl::Status ReadLayout();
  // INVALID_ARGUMENT for a JPEG of too many scans.
  absl::Status CheckScans() const;
  // REQUIRES: ReadLayout was OK. `orientation` to apply.
  absl::StatusOr<Image> Decode(int orientation, bool flatten_on_white, DecodeMeter& meter);

 private:
  struct Handle;
  VipsFile(std::string_view bytes, ImageFormat format, const TiffHeader& tiff);

  std::string_view bytes_;
  ImageFormat format_;
  TiffHeader tiff_;
  std::unique_ptr<Handle> handle_;
  PixelLayout layout_;
};

}  // namespace vl2
