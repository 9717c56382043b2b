// TIFF through libvips and libtiff, strip by strip by the calling thread.
//
// Threading: a TiffFile is used by one thread at a time.
// Errors: INVALID_ARGUMENT saying what is cut off, corrupt or not accepted; the meter's, asked
// every
//   few rows, and after whole strips or tiles where a codec must give them whole.
// Limits: the caller checks the size and HeldBytes.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image.h"
#include "vision_service/image/pixel_rows.h"
#include "vision_service/image/tiff_header.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

// A file that libvips has opened: header read, pixels not.
// Owns: libvips' image. Borrows the file's bytes.
class TiffFile {
 public:
  // `header`: ReadTiffHeader's.
  static absl::StatusOr<TiffFile> Open(std::string_view bytes, const TiffHeader& header);
  TiffFile(TiffFile&&) noexcept;
  TiffFile& operator=(TiffFile&&) noexcept;
  ~TiffFile();

  Size size() const;  // as stored
  int num_frames() const;
  int orientation() const;  // 1..8
  const PixelLayout& layout() const { return layout_; }
  // Of whole strips or tiles, beside the picture.
  int64_t HeldBytes() const;

  // INVALID_ARGUMENT when the samples are of a type or number that is not accepted.
  absl::Status ReadLayout();
  // REQUIRES: ReadLayout was OK. `orientation` to apply. With clip_16_bit_gray 16-bit grey without
  // alpha, the one mode that Pillow clips, is clipped, and black is zero whatever the file says:
  // Pillow takes no notice.
  absl::StatusOr<Image> Decode(int orientation, bool flatten_on_white, bool clip_16_bit_gray,
                               DecodeMeter& meter);

 private:
  struct Handle;
  explicit TiffFile(const TiffHeader& header);

  TiffHeader header_;
  std::unique_ptr<Handle> handle_;
  PixelLayout layout_;
};

}  // namespace vl2
