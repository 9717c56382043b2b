#include "vision_service/image/image_format.h"

#include "runtime/base/status.h"

namespace vl2 {
namespace {

bool HasAt(std::string_view bytes, size_t offset, std::string_view expected) {
  return bytes.size() >= offset + expected.size() &&
         bytes.substr(offset, expected.size()) == expected;
}

// What refused bytes look like, or "" when nothing known.
std::string_view NameOfRefused(std::string_view bytes) {
  using namespace std::string_view_literals;
  if (HasAt(bytes, 0, "BM")) return "BMP";
  if (HasAt(bytes, 0, "%PDF")) return "PDF";
  if (HasAt(bytes, 0, "%!PS")) return "PostScript";
  if (HasAt(bytes, 0, "8BPS")) return "Photoshop";
  if (HasAt(bytes, 0, "\x00\x00\x01\x00"sv)) return "ICO";
  if (HasAt(bytes, 0, "\xff\x0a"sv) || HasAt(bytes, 4, "JXL ")) return "JPEG XL";
  if (HasAt(bytes, 4, "jP  ")) return "JPEG 2000";
  if (HasAt(bytes, 4, "ftypavif") || HasAt(bytes, 4, "ftypavis")) return "AVIF";
  if (HasAt(bytes, 4, "ftyp")) return "HEIF or another ISO media file";
  const std::string_view head = bytes.substr(0, 1024);
  if (head.find("<svg") != std::string_view::npos) return "SVG";
  if (HasAt(bytes, 0, "<?xml") || HasAt(bytes, 0, "<")) return "XML or HTML";
  return "";
}

}  // namespace

std::string_view Name(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
    case ImageFormat::kGif:
      return "GIF";
    case ImageFormat::kTiff:
      return "TIFF";
  }
  return "?";
}

absl::StatusOr<ImageFormat> DetectFormat(std::string_view bytes) {
  using namespace std::string_view_literals;
  if (bytes.empty()) return InvalidArgument("image: 0 bytes");
  if (HasAt(bytes, 0, "\xff\xd8\xff")) return ImageFormat::kJpeg;
  if (HasAt(bytes, 0, "\x89PNG\r\n\x1a\n")) return ImageFormat::kPng;
  if (HasAt(bytes, 0, "RIFF") && HasAt(bytes, 8, "WEBP")) return ImageFormat::kWebp;
  if (HasAt(bytes, 0, "GIF87a") || HasAt(bytes, 0, "GIF89a")) return ImageFormat::kGif;
  for (const std::string_view magic : {"II*\0"sv, "MM\0*"sv, "II+\0"sv, "MM\0+"sv}) {
    if (HasAt(bytes, 0, magic)) return ImageFormat::kTiff;
  }
  constexpr std::string_view accepted = "accepted are JPEG, PNG, WebP, GIF and TIFF";
  const std::string_view refused = NameOfRefused(bytes);
  if (!refused.empty()) return InvalidArgument("image format ", refused, ": ", accepted);
  return InvalidArgument("image format not recognised in ", bytes.size(), " bytes: ", accepted);
}

}  // namespace vl2
