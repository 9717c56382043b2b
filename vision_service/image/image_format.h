// ImageFormat: which of the accepted file formats some bytes are, told from their first bytes.
//
// Accepted: JPEG, PNG, WebP, GIF (first frame) and TIFF (first page). Everything else is refused by
// name where it can be named: formats that are programs (SVG, PDF), containers of video codecs
// (HEIF, AVIF) or open only through ImageMagick (BMP, ICO, PSD) are not worth their attack surface.
//
// Threading: free functions, thread-safe.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"

namespace vl2 {

enum class ImageFormat { kJpeg, kPng, kWebp, kGif, kTiff };

// "JPEG", "PNG", "WebP", "GIF", "TIFF"
std::string_view Name(ImageFormat format);

// INVALID_ARGUMENT when empty, refused or unknown.
absl::StatusOr<ImageFormat> DetectFormat(std::string_view bytes);

}  // namespace vl2
