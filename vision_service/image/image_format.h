// ImageFormat: which of the accepted file formats some bytes are, told from their first bytes.
//
// Accepted: JPEG, PNG, WebP, GIF (first frame) and TIFF (first page). Everything else is refused by
// name where it can be named: formats that are programs (SVG, PDF), containers of video codecs
// (HEIF, AVIF) or open only through ImageMagick (BMP, ICO, PSD) are not worth their attack surface.
//
// Threading: free functions, thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "vision_service/image/tile_plan.h"

namespace vl2 {

enum class ImageFormat { kJpeg, kPng, kWebp, kGif, kTiff };

// "JPEG", "PNG", "WebP", "GIF", "TIFF"
std::string_view Name(ImageFormat format);

// INVALID_ARGUMENT when empty, refused or unknown.
absl::StatusOr<ImageFormat> DetectFormat(std::string_view bytes);

// The size a PNG's header chunk claims; INVALID_ARGUMENT when there is none. The decoder wants more
// than that chunk before it says anything.
absl::StatusOr<Size> PngHeaderSize(std::string_view bytes);

// Number of pages of a TIFF, counted up to `max_frames` + 1: a longer chain (or a circular one)
// stops there. INVALID_ARGUMENT when a page's directory lies outside the bytes, or when the first
// page's tiles are of more than max_pixels each (a decoder allocates them whole).
absl::StatusOr<int> CountTiffPages(std::string_view bytes, int max_frames, int64_t max_pixels);

// Number of scans of a JPEG, counted up to `max_scans` + 1. Each scan of a progressive file walks
// over the whole picture again, so a small file can ask for minutes of work.
int CountJpegScans(std::string_view bytes, int max_scans);

}  // namespace vl2
