#include "vision_service/image/vips_decoder.h"

#include <vips/vips.h>

#include <algorithm>

#include "runtime/base/status.h"
#include "vision_service/image/vips_library.h"

namespace vl2 {
namespace {

// Rows taken from libvips at once: its own strips are of this height or less.
constexpr int kStripRows = 16;
// Pixels times scans of a JPEG; ordinary progressive files have about 10 scans.
constexpr int64_t kMaxJpegScanPixels = int64_t{1} << 30;
constexpr int kMaxJpegScans = 100;

struct Unref {
  void operator()(VipsImage* image) const { g_object_unref(image); }
  void operator()(VipsRegion* region) const { g_object_unref(region); }
};
using VipsImagePtr = std::unique_ptr<VipsImage, Unref>;
using VipsRegionPtr = std::unique_ptr<VipsRegion, Unref>;

absl::Status DecoderError(ImageFormat format) {
  const std::string text = VipsLibrary::TakeError();
  return InvalidArgument(Name(format), " is truncated or corrupt: ",
                         text.empty() ? "the decoder gave no reason" : text);
}

}  // namespace

struct VipsFile::Handle {
  VipsImagePtr image;
};

VipsFile::VipsFile(std::string_view bytes, ImageFormat format, const TiffHeader& tiff)
    : bytes_(bytes), format_(format), tiff_(tiff), handle_(std::make_unique<Handle>()) {}
VipsFile::VipsFile(VipsFile&&) noexcept = default;
VipsFile& VipsFile::operator=(VipsFile&&) noexcept = default;
VipsFile::~VipsFile() = default;

absl::StatusOr<VipsFile> VipsFile::Open(std::string_view bytes, ImageFormat format,
                                        const TiffHeader& tiff) {
  VL2_RETURN_IF_ERROR(VipsLibrary::Start());
  VipsImage* image = nullptr;
  void* const data = const_cast<char*>(bytes.data());  // borrowed and only read
  // With the loader of the detected format: libvips never guesses.
  const auto load = format == ImageFormat::kJpeg ? vips_jpegload_buffer : vips_tiffload_buffer;
  if (load(data, bytes.size(), &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
           VIPS_FAIL_ON_TRUNCATED, nullptr) != 0) {
    return DecoderError(format);
  }
  VipsFile file(bytes, format, tiff);
  file.handle_->image.reset(image);
  return file;
}

Size VipsFile::size() const {
  const VipsImage* const image = handle_->image.get();
  return {vips_image_get_width(image), vips_image_get_height(image)};
}

int VipsFile::num_frames() const { return vips_image_get_n_pages(handle_->image.get()); }

int VipsFile::tiff_orientation() const {
  return std::clamp(vips_image_get_orientation(handle_->image.get()), 1, 8);
}

absl::Status VipsFile::ReadLayout() {
  const VipsImage* const image = handle_->image.get();
  const VipsBandFormat samples = vips_image_get_format(image);
  if (samples != VIPS_FORMAT_UCHAR && samples != VIPS_FORMAT_USHORT) {
    return InvalidArgument(Name(format_), " with samples of type ",
                           vips_enum_nick(VIPS_TYPE_BAND_FORMAT, samples),
                           ": only 8 and 16 bits are accepted");
  }
  layout_.is_16_bit = samples == VIPS_FORMAT_USHORT;
  const VipsInterpretation space = vips_image_get_interpretation(image);
  switch (space) {
    case VIPS_INTERPRETATION_B_W:
    case VIPS_INTERPRETATION_GREY16:
      layout_.color = ColorModel::kGray;
      break;
    case VIPS_INTERPRETATION_RGB:
    case VIPS_INTERPRETATION_sRGB:
    case VIPS_INTERPRETATION_RGB16:
      layout_.color = ColorModel::kRgb;
      break;
    case VIPS_INTERPRETATION_CMYK:
      layout_.color = ColorModel::kCmyk;
      break;
    default:
      return InvalidArgument(Name(format_), " in colour space ",
                             vips_enum_nick(VIPS_TYPE_INTERPRETATION, space),
                             ": only grey, RGB and CMYK are accepted");
  }
  const int num_bands = vips_image_get_bands(image);
  const int num_extra = num_bands - layout_.num_colors();
  if (num_extra < 0 || (format_ == ImageFormat::kJpeg && num_extra > 0) ||
      (format_ == ImageFormat::kTiff &&
       (num_extra != tiff_.num_extra || layout_.num_colors() != tiff_.num_colors))) {
    return InvalidArgument(Name(format_), " with ", num_bands, " channels of ",
                           layout_.num_colors(), " colours");
  }
  layout_.has_alpha = tiff_.alpha_at >= 0 && num_extra > 0;
  layout_.num_before_alpha = layout_.has_alpha ? tiff_.alpha_at : 0;
  layout_.num_ignored = num_extra - layout_.has_alpha - layout_.num_before_alpha;
  return absl::OkStatus();
}

int64_t VipsFile::HeldBytes() const {
  const VipsImage* const image = handle_->image.get();
  if (format_ == ImageFormat::kJpeg) {
    return 2 * CountHeldJpegSamples(bytes_);  // coefficients of two bytes
  }
  const auto pixel_bytes = static_cast<int64_t>(VIPS_IMAGE_SIZEOF_PEL(image));
  if (!tiff_.is_tiled) return tiff_.block.area() * pixel_bytes;
  if (tiff_.block.width < 1) return 0;
  // libvips keeps two rows of tiles, and one tile as libtiff gives it.
  const int64_t across = (size().width + tiff_.block.width - 1) / tiff_.block.width;
  return (2 * across + 1) * tiff_.block.area() * pixel_bytes;
}

absl::Status VipsFile::CheckScans() const {
  if (format_ != ImageFormat::kJpeg) return absl::OkStatus();
  const int num_scans = CountJpegScans(bytes_, kMaxJpegScans);
  if (num_scans > kMaxJpegScans || num_scans * size().area() > kMaxJpegScanPixels) {
    return InvalidArgument("JPEG of ", size(), " pixels in ", num_scans,
                           " or more scans: the limits are ", kMaxJpegScans, " scans and ",
                           kMaxJpegScanPixels, " pixels times scans");
  }
  return absl::OkStatus();
}

absl::StatusOr<Image> VipsFile::Decode(int orientation, bool flatten_on_white, DecodeMeter& meter) {
  const Size stored = size();
  const VipsRegionPtr region(vips_region_new(handle_->image.get()));
  Image image(UprightSize(stored, orientation));
  UprightRows rows(stored, orientation, image);
  for (int first = 0; first < stored.height; first += kStripRows) {
    VL2_RETURN_IF_ERROR(meter.Check());
    const int num_rows = std::min(kStripRows, stored.height - first);
    const VipsRect rect = {0, first, stored.width, num_rows};
    if (vips_region_prepare(region.get(), &rect) != 0) return DecoderError(format_);
    for (int y = 0; y < num_rows; ++y) {
      const void* samples = VIPS_REGION_ADDR(region.get(), 0, first + y);
      ConvertRow(samples, stored.width, layout_, flatten_on_white, rows.NextRow());
    }
  }
  rows.Finish();
  return image;
}

}  // namespace vl2
