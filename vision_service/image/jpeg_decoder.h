// JPEG through libjpeg, row by row by the calling thread.
//
// Of the segments before the picture only those that make pixels are looked at; text and profiles
// are skipped. Inks (CMYK, YCCK) are stored inverted, as Adobe's programs do and Pillow assumes.
//
// Threading: a JpegFile is used by one thread at a time.
// Errors: INVALID_ARGUMENT saying what is cut off, corrupt or not accepted; the meter's, asked
// every
//   row of blocks, also while the scans of a progressive file are gathered.
// Limits: the caller checks the size and HeldBytes; scans are checked here: each walks over the
//   whole picture again, so that a small file can ask for minutes of work.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/decode_meter.h"
#include "vision_service/image/image.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

// A file whose header has been read. Borrows the file's bytes.
class JpegFile {
 public:
  static constexpr int kMaxScans = 100;
  // Pixels times scans; ordinary progressive files have about 10 scans.
  static constexpr int64_t kMaxScanPixels = int64_t{1} << 30;

  // Needs everything before the first scan.
  static absl::StatusOr<JpegFile> Open(std::string_view bytes);
  JpegFile(JpegFile&&) noexcept;
  JpegFile& operator=(JpegFile&&) noexcept;
  ~JpegFile();

  Size size() const;  // as stored
  int num_bands() const;
  int orientation() const;  // the Exif tag, 1..8
  // Coefficients of the whole picture, where rows come only after the last scan.
  int64_t HeldBytes() const;
  absl::Status CheckScans() const;

  // Once. `orientation` to apply.
  absl::StatusOr<Image> Decode(int orientation, DecodeMeter& meter);

 private:
  class Reader;
  explicit JpegFile(std::unique_ptr<Reader> reader);
  std::unique_ptr<Reader> reader_;
};

// The Exif data: the first APP1 segment before the first scan that begins with "Exif\0", that
// prefix included; empty when there is none.
std::string_view FindJpegExif(std::string_view jpeg);

}  // namespace vl2
