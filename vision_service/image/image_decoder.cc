#include "vision_service/image/image_decoder.h"

#include <vips/vips.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "vision_service/image/gif_decoder.h"
#include "vision_service/image/pixel_rows.h"
#include "vision_service/image/vips_library.h"

namespace vl2 {
namespace {

// Rows taken from libvips at once: its own strips are of this height or less.
constexpr int kStripRows = 16;
// Pixels times scans of a JPEG; ordinary progressive files have about 10 scans.
constexpr int64_t kMaxJpegScanPixels = int64_t{1} << 30;
constexpr int kMaxJpegScans = 100;
constexpr int64_t kPngColorTypeOffset = 25;

struct Unref {
  void operator()(VipsImage* image) const { g_object_unref(image); }
  void operator()(VipsRegion* region) const { g_object_unref(region); }
};
using VipsImagePtr = std::unique_ptr<VipsImage, Unref>;
using VipsRegionPtr = std::unique_ptr<VipsRegion, Unref>;

// A file that libvips has opened: header read, pixels not.
struct OpenedImage {
  VipsImagePtr image;
  PixelLayout layout;
  ImageInfo info;  // its size is the stored one
};

absl::Status DecoderError(ImageFormat format) {
  const std::string text = VipsLibrary::TakeError();
  return InvalidArgument(Name(format), " is truncated or corrupt: ",
                         text.empty() ? "the decoder gave no reason" : text);
}

// Opens with the loader of the detected format: libvips never guesses.
absl::StatusOr<VipsImagePtr> Open(std::string_view bytes, ImageFormat format) {
  VipsImage* image = nullptr;
  void* const data = const_cast<char*>(bytes.data());  // borrowed and only read
  const size_t size = bytes.size();
  // WebP is decoded as a whole, and above 100 MB libvips would put it in a temporary file. The
  // others are decoded strip by strip: for them "memory" would mean one more copy of the picture.
  const gboolean in_memory = format == ImageFormat::kWebp;
  const auto load = [&](auto loader) {
    return loader(data, size, &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                  VIPS_FAIL_ON_TRUNCATED, "memory", in_memory, nullptr);
  };
  int failed = -1;
  switch (format) {
    case ImageFormat::kJpeg:
      failed = load(vips_jpegload_buffer);
      break;
    case ImageFormat::kPng:
      failed = load(vips_pngload_buffer);
      break;
    case ImageFormat::kWebp:
      failed = load(vips_webpload_buffer);
      break;
    case ImageFormat::kTiff:
      failed = load(vips_tiffload_buffer);
      break;
    case ImageFormat::kGif:
      break;  // gif_decoder.h
  }
  if (failed != 0) return DecoderError(format);
  return VipsImagePtr(image);
}

// How libvips' samples are to be read; an error when they are no picture we know.
absl::StatusOr<PixelLayout> LayoutOf(const VipsImage* image, ImageFormat format) {
  PixelLayout layout;
  const VipsBandFormat samples = vips_image_get_format(image);
  if (samples != VIPS_FORMAT_UCHAR && samples != VIPS_FORMAT_USHORT) {
    return InvalidArgument(Name(format), " with samples of type ",
                           vips_enum_nick(VIPS_TYPE_BAND_FORMAT, samples),
                           ": only 8 and 16 bits are accepted");
  }
  layout.is_16_bit = samples == VIPS_FORMAT_USHORT;
  const int num_bands = vips_image_get_bands(image);
  const VipsInterpretation space = vips_image_get_interpretation(image);
  switch (space) {
    case VIPS_INTERPRETATION_B_W:
    case VIPS_INTERPRETATION_GREY16:
      layout.color = ColorModel::kGray;
      break;
    case VIPS_INTERPRETATION_RGB:
    case VIPS_INTERPRETATION_sRGB:
    case VIPS_INTERPRETATION_RGB16:
      layout.color = ColorModel::kRgb;
      break;
    case VIPS_INTERPRETATION_CMYK:
      layout.color = ColorModel::kCmyk;
      break;
    default:
      return InvalidArgument(Name(format), " in colour space ",
                             vips_enum_nick(VIPS_TYPE_INTERPRETATION, space),
                             ": only grey, RGB and CMYK are accepted");
  }
  layout.has_alpha = num_bands == layout.num_samples() + 1;
  if (num_bands != layout.num_samples()) {
    return InvalidArgument(Name(format), " with ", num_bands, " channels of ",
                           layout.num_samples() - layout.has_alpha, " colours");
  }
  return layout;
}

absl::Status CheckSize(Size size, const ImageLimits& limits) {
  if (size.width < 1 || size.height < 1) return InvalidArgument("image of ", size, " pixels");
  if (size.width > limits.max_side || size.height > limits.max_side) {
    return InvalidArgument("image of ", size, " pixels: the limit is ", limits.max_side, " a side");
  }
  if (size.area() > limits.max_pixels) {
    return InvalidArgument("image of ", size, " = ", size.area(), " pixels: the limit is ",
                           limits.max_pixels);
  }
  return absl::OkStatus();
}

absl::Status CheckFrames(ImageFormat format, int num_frames, const ImageLimits& limits) {
  if (num_frames <= limits.max_frames) return absl::OkStatus();
  return InvalidArgument(Name(format), " of at least ", num_frames, " frames: the limit is ",
                         limits.max_frames);
}

absl::StatusOr<ImageFormat> CheckedFormat(std::string_view bytes, const ImageLimits& limits) {
  if (bytes.size() > limits.max_bytes) {
    return InvalidArgument("image of ", bytes.size(), " bytes: the limit is ", limits.max_bytes);
  }
  return DetectFormat(bytes);
}

absl::StatusOr<GifHeader> OpenGif(std::string_view bytes, const ImageLimits& limits) {
  VL2_ASSIGN_OR_RETURN(GifHeader header, ReadGifHeader(bytes, limits.max_frames));
  VL2_RETURN_IF_ERROR(CheckSize(header.screen, limits));
  VL2_RETURN_IF_ERROR(CheckFrames(ImageFormat::kGif, header.num_frames, limits));
  return header;
}

ImageInfo InfoOf(const GifHeader& header) {
  return {.format = ImageFormat::kGif,
          .size = header.screen,
          .num_bands = header.has_alpha() ? 4 : 3,
          .num_frames = header.num_frames,
          .orientation = 1,
          .has_alpha = header.has_alpha()};
}

absl::StatusOr<OpenedImage> OpenWithVips(std::string_view bytes, ImageFormat format,
                                         const ImageLimits& limits) {
  VL2_RETURN_IF_ERROR(VipsLibrary::Start());
  OpenedImage opened;
  opened.info.format = format;
  if (format == ImageFormat::kPng) {
    VL2_ASSIGN_OR_RETURN(const Size claimed, PngHeaderSize(bytes));
    VL2_RETURN_IF_ERROR(CheckSize(claimed, limits));
  }
  if (format == ImageFormat::kTiff) {
    // libtiff looks for circles by comparing each directory with all before it: count first.
    VL2_ASSIGN_OR_RETURN(opened.info.num_frames,
                         CountTiffPages(bytes, limits.max_frames, limits.max_pixels));
    VL2_RETURN_IF_ERROR(CheckFrames(format, opened.info.num_frames, limits));
  }
  VL2_ASSIGN_OR_RETURN(opened.image, Open(bytes, format));
  VipsImage* const image = opened.image.get();
  ImageInfo& info = opened.info;
  info.size = {vips_image_get_width(image), vips_image_get_height(image)};
  VL2_RETURN_IF_ERROR(CheckSize(info.size, limits));
  info.num_frames = vips_image_get_n_pages(image);
  VL2_RETURN_IF_ERROR(CheckFrames(format, info.num_frames, limits));
  if (format == ImageFormat::kJpeg) {
    const int num_scans = CountJpegScans(bytes, kMaxJpegScans);
    if (num_scans > kMaxJpegScans || num_scans * info.size.area() > kMaxJpegScanPixels) {
      return InvalidArgument("JPEG of ", info.size, " pixels in ", num_scans,
                             " or more scans: the limits are ", kMaxJpegScans, " scans and ",
                             kMaxJpegScanPixels, " pixels times scans");
    }
  }
  VL2_ASSIGN_OR_RETURN(opened.layout, LayoutOf(image, format));
  info.num_bands = vips_image_get_bands(image);
  info.has_alpha = opened.layout.has_alpha;
  info.orientation = std::clamp(vips_image_get_orientation(image), 1, 8);
  return opened;
}

// The tag to act on under the policy, 1..8.
int AppliedOrientation(const ImageInfo& info, const DecodePolicy& policy) {
  const bool apply =
      policy.orientation == DecodePolicy::Orientation::kApply || info.format == ImageFormat::kTiff;
  return apply ? info.orientation : 1;
}

// 16-bit grey without a stored alpha channel is the one mode that Pillow clips.
bool ClipsGray16(std::string_view bytes, const OpenedImage& opened, const DecodePolicy& policy) {
  if (policy.gray16 != DecodePolicy::Gray16::kClip) return false;
  if (opened.info.format != ImageFormat::kPng) return !opened.layout.has_alpha;
  // A transparent grey level (tRNS) looks like an alpha channel here, but is none to Pillow.
  return bytes.size() > kPngColorTypeOffset && bytes[kPngColorTypeOffset] == 0;
}

absl::Status ReadRows(const OpenedImage& opened, const DecodePolicy& policy, Image& image) {
  const VipsRegionPtr region(vips_region_new(opened.image.get()));
  const bool flatten = policy.alpha == DecodePolicy::Alpha::kFlattenOnWhite;
  const int orientation = AppliedOrientation(opened.info, policy);
  const size_t strip_stride = static_cast<size_t>(opened.info.size.width) * 3;
  std::vector<uint8_t> strip(strip_stride * kStripRows);
  for (int first = 0; first < opened.info.size.height; first += kStripRows) {
    const int num_rows = std::min(kStripRows, opened.info.size.height - first);
    const VipsRect rect = {0, first, opened.info.size.width, num_rows};
    if (vips_region_prepare(region.get(), &rect) != 0) return DecoderError(opened.info.format);
    for (int y = 0; y < num_rows; ++y) {
      const void* samples = VIPS_REGION_ADDR(region.get(), 0, first + y);
      uint8_t* const row =
          orientation == 1 ? image.row(first + y) : &strip[strip_stride * static_cast<size_t>(y)];
      ConvertRow(samples, opened.info.size.width, opened.layout, flatten, row);
    }
    if (orientation == 1) continue;
    PlaceRows(strip.data(), strip_stride, first, num_rows, opened.info.size, orientation, image);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ImageLimits::Validate() const {
  if (max_bytes < 1 || max_bytes > size_t{1} << 32) {
    return InvalidArgument("image limit max_bytes = ", max_bytes, ": must be 1 to 2^32");
  }
  if (max_pixels < 1 || max_pixels > int64_t{1} << 32) {
    return InvalidArgument("image limit max_pixels = ", max_pixels, ": must be 1 to 2^32");
  }
  if (max_side < 1 || max_side > kMaxPlannedSide) {
    return InvalidArgument("image limit max_side = ", max_side, ": must be 1 to ", kMaxPlannedSide);
  }
  if (max_frames < 1 || max_frames > 1'000'000) {
    return InvalidArgument("image limit max_frames = ", max_frames, ": must be 1 to 1000000");
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageInfo> ImageDecoder::ReadHeader(std::string_view bytes,
                                                   const DecodePolicy& policy) const {
  VL2_ASSIGN_OR_RETURN(const ImageFormat format, CheckedFormat(bytes, limits_));
  ImageInfo info;
  if (format == ImageFormat::kGif) {
    VL2_ASSIGN_OR_RETURN(const GifHeader header, OpenGif(bytes, limits_));
    info = InfoOf(header);
  } else {
    VL2_ASSIGN_OR_RETURN(const OpenedImage opened, OpenWithVips(bytes, format, limits_));
    info = opened.info;
  }
  info.size = UprightSize(info.size, AppliedOrientation(info, policy));
  return info;
}

absl::StatusOr<Image> ImageDecoder::Decode(std::string_view bytes,
                                           const DecodePolicy& policy) const {
  VL2_ASSIGN_OR_RETURN(const ImageFormat format, CheckedFormat(bytes, limits_));
  if (format == ImageFormat::kGif) {
    VL2_ASSIGN_OR_RETURN(const GifHeader header, OpenGif(bytes, limits_));
    return DecodeGif(bytes, header, policy.alpha == DecodePolicy::Alpha::kFlattenOnWhite);
  }
  VL2_ASSIGN_OR_RETURN(OpenedImage opened, OpenWithVips(bytes, format, limits_));
  opened.layout.clip_16_bit_gray = ClipsGray16(bytes, opened, policy);
  Image image(UprightSize(opened.info.size, AppliedOrientation(opened.info, policy)));
  VL2_RETURN_IF_ERROR(ReadRows(opened, policy, image));
  return image;
}

}  // namespace vl2
